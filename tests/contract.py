"""The contract of a family: what latentlens says of a state is the model's own answer. Largest errors are kept."""

from __future__ import annotations

import torch
from torch import Tensor

import latentlens as ll

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 1e-2}
"""The largest error allowed, as a share of the spread of the logits."""


class Row:
    """What was measured of one family; `pytest tests --contract` prints it."""

    def __init__(self, name: str, model: ll.LatentModel) -> None:
        free = model.spec.free if hasattr(model, "spec") else True
        self.name, self.family, self.layers = name, model.family, model.n_layers
        self.iterations = f"{model.iterations} ({'free' if free else 'fixed'})"
        self.offers = [offer for offer, has in _offers(model) if has]
        self.errors: dict[torch.dtype, float] = {}

    def __str__(self) -> str:
        errors = "  ".join(f"{self.errors.get(dtype, torch.nan):8.1e}" for dtype in (torch.float32, torch.bfloat16))
        return f"{self.name:26} {errors}  {self.iterations:10} {self.layers:6}  {', '.join(self.offers)}"


def _offers(model: ll.LatentModel) -> tuple[tuple[str, bool], ...]:
    listed = next((family.offers for family in ll.models.FAMILIES if family.name == model.family), ())
    return (
        ("step", model.steps),
        ("gate", model.exit_threshold is not None),
        *((name, name in listed) for name in ("coda", "layers", "aux")),
        ("attention", model.patterns),
        ("random s_0", model.random_start),
    )


FOUND: dict[str, Row] = {}
HEADER = f"{'family':26} {'float32':>8}  {'bfloat16':>8}  {'iterations':10} {'layers':>6}  offers"


def holds(name: str, model: ll.LatentModel, said: Tensor, own: Tensor) -> None:
    """Check the logits for a state against the model's own, and keep the error as a share of their spread."""
    spread = (own.max() - own.min()).float()
    error = float((said - own).float().abs().max() / spread)
    errors = FOUND.setdefault(name, Row(name, model)).errors
    errors[model.dtype] = max(error, errors.get(model.dtype, 0.0))
    assert error <= TOLERANCE[model.dtype]
