"""What a model is said to be is what it does."""

from __future__ import annotations

from pathlib import Path

import families
import pytest

import latentlens as ll
from latentlens.models import FAMILIES
from latentlens.models.describing import TITLES, describe

OURO = Path(__file__).parent.parent / "data" / "ouro_random"


@pytest.mark.parametrize("name", families.FAMILIES)
def test_what_a_model_is_said_to_lack_it_refuses_and_nothing_else(name: str):
    model = ll.wrap(families.make(name))
    about = describe(model)
    assert (about.iterations, about.d_model, about.vocab_size) == (model.iterations, model.d_model, model.vocab_size)
    assert "tokenizer" in about.lacks
    assert ("iterations" in about.lacks) is (not about.free)
    if about.free:
        assert ll.capture(model, tokens=[[5, 6]], iterations=2, progress=False).iterations == 2
    else:
        with pytest.raises(ll.LatentLensError, match="its number of iterations is fixed"):
            ll.capture(model, tokens=[[5, 6]], iterations=model.iterations + 1, progress=False)


def test_a_decoder_says_that_its_layers_are_its_iterations():
    about = describe(ll.wrap(families.make("llama")))
    assert about.title == "a decoder, with its layers as iterations"
    assert about.lacks["iterations"] == "its number of iterations cannot be chosen: they are its 3 layers"
    assert describe(ll.wrap(families.make("llama"), repeat="model.layers[1:3]")).free


def test_a_gate_is_offered_by_the_family_that_has_one():
    about = describe(ll.load(str(OURO)))
    assert (about.family, about.free) == ("ouro", True)
    assert "gate" in about.offers
    assert "gate" not in describe(ll.load("walks")).offers


def test_every_family_has_a_title():
    assert {family.name for family in FAMILIES} <= TITLES.keys()
