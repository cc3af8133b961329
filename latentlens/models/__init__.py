"""What can be looked into: the families, in one visible tuple, and the models that ship with latentlens.

Knows no torch: a family's module is imported when a model of it is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from latentlens.models import walks


@dataclass(frozen=True)
class Family:
    """One architecture: the `model_type` values of its configs, the module that builds it, what it offers."""

    name: str
    model_types: tuple[str, ...]
    module: str
    title: str
    offers: tuple[str, ...]


FAMILIES = (
    Family(
        name="raven",
        model_types=("huginn_raven", "raven"),
        module="latentlens.models.raven",
        title="Huginn (Geiping et al. 2025): prelude, recurrent core, coda",
        offers=("step", "coda", "layers"),
    ),
    Family(
        name="ouro",
        model_types=("ouro",),
        module="latentlens.models.ouro",
        title="Ouro (Zhu et al. 2025): all layers and the norm, again and again, with an exit gate",
        offers=("step", "gate", "layers"),
    ),
    Family(
        name="dory",
        model_types=("dory",),
        module="latentlens.models.dory",
        title="Dory: a looped nGPT with input and output layers of its own",
        offers=("coda", "layers"),
    ),
    Family(
        name="hrm_text",
        model_types=("hrm_text",),
        module="latentlens.models.hrm_text",
        title="HRM-Text: a slow stack, and a fast one that cycles within it",
        offers=("layers", "aux"),
    ),
    Family(
        name="inkling2_loop",
        model_types=("inkling2_loop_text", "inkling2_loop"),
        module="latentlens.models.inkling_loop",
        title="Inkling 2 Loop: passes that each restart, with messages from the pass before",
        offers=("coda", "layers", "aux"),
    ),
    Family(
        name="albert",
        model_types=("albert",),
        module="latentlens.models.albert",
        title="ALBERT: one group of layers over all tokens at once; a masked language model",
        offers=("layers",),
    ),
    Family(
        name="decoder",
        model_types=(
            "llama",
            "gpt2",
            "gpt_neox",
            "qwen2",
            "qwen3",
            "gemma",
            "gemma2",
            "gemma3_text",
            "mistral",
            "phi3",
        ),
        module="latentlens.models.decoder",
        title="any of these decoders, with its layers as iterations",
        offers=(),
    ),
    Family(
        name="latent_cot",
        model_types=(),
        module="latentlens.models.latent_cot",
        title="latent chain of thought (Coconut, CODI) over any causal one of these: ll.latent_cot(model, prompt)",
        offers=(),
    ),
)


@dataclass(frozen=True)
class Shipped:
    """A model that comes with latentlens: its folder, what it is, and the exact answer to a prompt."""

    folder: Path
    family: str
    title: str
    truth: Callable[[str], dict[str, float]]


SHIPPED = {
    "walks": Shipped(walks.FOLDER, "raven", "random walks on small graphs, in words, in Huginn's format", walks.truth)
}

__all__ = ["FAMILIES", "SHIPPED", "Family", "Shipped", "walks"]
