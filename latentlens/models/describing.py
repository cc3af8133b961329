"""Say what a model is, what it can do and what it lacks, in words for a reader.

In: a `LatentModel`. Out: a `Description`. Knows nothing about files, lenses or pages.
"""

from __future__ import annotations

from dataclasses import dataclass

from latentlens.models import FAMILIES
from latentlens.models.base import LatentModel, LoopSpec

TITLES = {family.name: family.title for family in FAMILIES} | {
    "decoder": "a decoder, with its layers as iterations",
    "wrapped": "a module of your own, read through hooks",
    "latent_cot": "latent chain of thought (Coconut, CODI)",
}


@dataclass(frozen=True)
class Description:
    """What a reader wants to know of a model before it runs.

    Attributes:
        name, family: what it and its family are called.
        title: the family in a few words.
        iterations: how many the model itself makes; `free` is whether another number can be chosen.
        d_model, vocab_size: the width of a state, and the number of tokens that the model scores.
        offers: what not every model has, in words, by a short name ("step", "gate", "attention").
        lacks: what most models have and this one does not, likewise ("tokenizer", "iterations", "step").
    """

    name: str
    family: str
    title: str
    iterations: int
    free: bool
    d_model: int
    vocab_size: int
    offers: dict[str, str]
    lacks: dict[str, str]


def describe(model: LatentModel) -> Description:
    """What a model is, what it offers and what it lacks.

    >>> import latentlens as ll
    >>> about = describe(ll.load("walks"))
    >>> about.family, about.free, sorted(about.offers), about.lacks
    ('raven', True, ['attention', 'step'], {})
    """
    return Description(
        name=model.name,
        family=model.family,
        title=TITLES.get(model.family, model.family),
        iterations=model.iterations,
        free=free_count(model),
        d_model=model.d_model,
        vocab_size=model.vocab_size,
        offers=_offers(model),
        lacks=_lacks(model),
    )


def free_count(model: LatentModel) -> bool:
    """Whether the number of iterations can be chosen.

    >>> import latentlens as ll
    >>> free_count(ll.load("walks"))
    True
    """
    spec = getattr(model, "spec", None)
    return not isinstance(spec, LoopSpec) or spec.free


def _offers(model: LatentModel) -> dict[str, str]:
    words = {
        "step": (model.steps, "an iteration can be made from any state, so that a run can start anywhere"),
        "gate": (model.exit_threshold is not None, "an exit gate says after each iteration how likely it would stop"),
        "attention": (model.patterns, "its attention patterns can be kept"),
    }
    return {name: text for name, (there, text) in words.items() if there}


def _lacks(model: LatentModel) -> dict[str, str]:
    fixed = f"its number of iterations cannot be chosen: it makes {model.iterations}"
    if model.family == "decoder":
        fixed = f"its number of iterations cannot be chosen: they are its {model.iterations} layers"
    words = {
        "tokenizer": (model.tokenizer is None, "no tokenizer: write token ids, separated by spaces, in place of text"),
        "iterations": (not free_count(model), fixed),
        "step": (not model.steps, "no iteration from a chosen state: its loop runs inside its own forward"),
    }
    return {name: text for name, (missing, text) in words.items() if missing}
