"""latentlens: watch a recurrent-depth language model think.

Every public name is imported when it is first touched, so that `import latentlens` loads neither torch nor dash.

>>> import latentlens as ll
>>> model = ll.load("walks")
>>> traj = ll.capture(model, "Ann : Bob Cal . Bob : Ann . Cal : Ann . 1 steps from Ann", iterations=8)
>>> out = ll.decode(traj)
>>> sorted(ll.token_text(out, out.top_token[0, -1, -1, :2].values))
['Bob', 'Cal']
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentlens import errors, figures, models
    from latentlens.embeddings import Embedding, embed
    from latentlens.errors import LatentLensError
    from latentlens.generation import Generation, generate
    from latentlens.landmarks import Landmarks, mark
    from latentlens.lenses.jacobian import JacobianLens
    from latentlens.lenses.lens import CodaLens, Lens, LogitLens
    from latentlens.lenses.tuned import TunedLens
    from latentlens.models.base import STOP, At, LatentModel
    from latentlens.models.loading import load
    from latentlens.models.wrapping import wrap
    from latentlens.motion import dynamics
    from latentlens.motion.groups import aggregate
    from latentlens.motion.starts import PathIndependence, path_independence
    from latentlens.motion.topology import persistence
    from latentlens.probes import Probe
    from latentlens.readouts import decode, logits, token_text
    from latentlens.recording import capture
    from latentlens.scoring import evaluate, score
    from latentlens.thoughts import latent_cot
    from latentlens.trajectory import Trajectory

__version__ = "0.1.0"

_HOMES = {
    "At": "latentlens.models.base",
    "CodaLens": "latentlens.lenses.lens",
    "Embedding": "latentlens.embeddings",
    "JacobianLens": "latentlens.lenses.jacobian",
    "LatentLensError": "latentlens.errors",
    "LatentModel": "latentlens.models.base",
    "PathIndependence": "latentlens.motion.starts",
    "Landmarks": "latentlens.landmarks",
    "Lens": "latentlens.lenses.lens",
    "LogitLens": "latentlens.lenses.lens",
    "Generation": "latentlens.generation",
    "Probe": "latentlens.probes",
    "STOP": "latentlens.models.base",
    "Trajectory": "latentlens.trajectory",
    "TunedLens": "latentlens.lenses.tuned",
    "aggregate": "latentlens.motion.groups",
    "capture": "latentlens.recording",
    "decode": "latentlens.readouts",
    "dynamics": "latentlens.motion",
    "embed": "latentlens.embeddings",
    "evaluate": "latentlens.scoring",
    "generate": "latentlens.generation",
    "latent_cot": "latentlens.thoughts",
    "load": "latentlens.models.loading",
    "mark": "latentlens.landmarks",
    "logits": "latentlens.readouts",
    "path_independence": "latentlens.motion.starts",
    "persistence": "latentlens.motion.topology",
    "score": "latentlens.scoring",
    "token_text": "latentlens.readouts",
    "wrap": "latentlens.models.wrapping",
}
_MODULES = ("errors", "figures", "models")

__all__ = [
    "STOP",
    "At",
    "CodaLens",
    "Embedding",
    "Generation",
    "JacobianLens",
    "LatentLensError",
    "LatentModel",
    "Landmarks",
    "Lens",
    "LogitLens",
    "PathIndependence",
    "Probe",
    "Trajectory",
    "TunedLens",
    "aggregate",
    "capture",
    "decode",
    "dynamics",
    "embed",
    "errors",
    "evaluate",
    "figures",
    "generate",
    "latent_cot",
    "load",
    "logits",
    "mark",
    "models",
    "path_independence",
    "persistence",
    "score",
    "token_text",
    "wrap",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"latentlens.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'latentlens' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
