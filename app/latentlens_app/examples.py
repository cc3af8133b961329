"""Prompts to begin with: a worked example for the first look, and a few that show something each.

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
FOR_OTHERS = (
    Example("A capital", "The capital of France is the city of"),
    Example("A sum", "2 + 3 ="),
    Example("A story", "Once upon a time there was a"),
)


def examples_for(model: str) -> tuple[Example, ...]:
    """The examples of a model; the first of them is the one that a page opens on.

    >>> [example.title for example in examples_for("walks")]
    ['Three steps', 'Three rivals', 'A loaded die', 'One way only']
    """
    return FOR_WALKS if model == "walks" else FOR_OTHERS


def another_walk(number: int) -> str:
    """A random walk on a random graph; the same number always gives the same prompt.

    >>> another_walk(3) == another_walk(3), another_walk(3) == another_walk(4)
    (True, False)
    """
    return walks.sample(1, steps=2 + number % 2, seed=number, nodes=(4, 6), successors=(1, 2))[0]
