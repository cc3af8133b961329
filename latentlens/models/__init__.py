"""What can be looked into: the families, in one visible tuple, and the models that ship with latentlens.

Knows no torch: a family's module is imported when a model of it is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass

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
)

SHIPPED = {"walks": walks.FOLDER}

__all__ = ["FAMILIES", "SHIPPED", "Family", "walks"]
