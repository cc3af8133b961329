"""Prompts to begin with: worked examples of the shipped model, and something for any other.

In: a model's name. Out: titles and prompts. Knows nothing about pages.
"""

from __future__ import annotations

from typing import NamedTuple

from latentlens.models import walks


class Example(NamedTuple):
    """A prompt that shows something, and what that is, in two or three words."""

    title: str
    prompt: str


FOR_WALKS = (
    Example("Three steps", "Ann : Bob . Bob : Cal Dee . Cal : Eve . Dee : Eve Ann . Eve : Ann . 3 steps from Ann"),
    Example(
        "Three rivals",
        "Ann : Bob Cal . Bob : Dee Ann . Cal : Dee Eve . Dee : Ann Bob . Eve : Cal Dee . 2 steps from Ann",
    ),
    Example("A loaded die", "Fay : Gus Gus Hal . Gus : Hal Fay . Hal : Fay . Ida : Hal Gus . 1 steps from Fay"),
    Example("One way only", "Tom : Sue . Sue : Roy . Roy : Pam . Pam : Ola . Ola : Tom . 3 steps from Tom"),
)
OF_TEXT = "The capital of France is the city of"
OF_IDS = "1 2 3 4 5 6 7 8"


def opening_prompt(model: str, has_tokenizer: bool = True) -> str:
    """The prompt of a fresh page: the first example of the shipped model, otherwise something to begin with.

    >>> opening_prompt("some/model", has_tokenizer=False)
    '1 2 3 4 5 6 7 8'
    """
    if model == "walks":
        return FOR_WALKS[0].prompt
    return OF_TEXT if has_tokenizer else OF_IDS


def another_walk(number: int) -> str:
    """A random walk on a random graph; the same number always gives the same prompt.

    >>> another_walk(3) == another_walk(3), another_walk(3) == another_walk(4)
    (True, False)
    """
    return walks.sample(1, steps=2 + number % 2, seed=number, nodes=(4, 6), successors=(1, 2))[0]
