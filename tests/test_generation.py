"""Generation against the authors' own continuation, and against a loop written by hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import latentlens as ll
from latentlens.errors import CaptureError

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def ouro():
    return ll.load(str(DATA / "ouro_random"))


@pytest.mark.parametrize("threshold", [None, 1.0])
def test_ouro_continues_as_its_authors_code_does(ouro, threshold):
    authors = load_file(DATA / "ouro_random" / "reference.safetensors")["greedy"][0]
    gen = ll.generate(ouro, tokens=authors[None, :13], max_new_tokens=8, threshold=threshold)
    assert torch.equal(gen.tokens, authors)
    assert torch.equal(gen.new_tokens, authors[13:])
    assert gen.states.shape == (8, 5, 64)


def test_every_new_token_is_the_best_of_a_run_over_the_text_so_far(wordy):
    gen = ll.generate(wordy, "the cat", max_new_tokens=5, iterations=3, seed=4)
    ids = torch.tensor([wordy.tokenizer.encode("the cat")])
    for token in gen.new_tokens.tolist():
        logits = wordy.run(ids, iterations=3, seed=4)
        assert logits[0, -1].argmax() == token
        ids = torch.cat([ids, torch.tensor([[token]])], dim=1)
    traj = ll.capture(wordy, tokens=ids[:, :-1], iterations=3, seed=4)
    assert (traj.states[0, :, 1:].transpose(0, 1) - gen.states).abs().max() < 1e-4
    assert gen.text == wordy.tokenizer.decode(gen.new_tokens.tolist())
    assert gen.exits.tolist() == [3] * 5


def test_a_lower_threshold_reads_each_token_at_its_own_exit(ouro):
    gen = ll.generate(ouro, tokens=[[5, 6, 7]], max_new_tokens=3, threshold=0.3)
    assert gen.exits.min() < 4
    ids = torch.tensor([[5, 6, 7]])
    for token, stop in zip(gen.new_tokens.tolist(), gen.exits.tolist()):
        assert ouro.run(ids, iterations=stop)[0, -1].argmax() == token
        ids = torch.cat([ids, torch.tensor([[token]])], dim=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": "a", "max_new_tokens": 0}, "expected max_new_tokens to be a whole number of 1 or more, got 0"),
        ({"prompt": "a", "threshold": 0.5}, "expected no threshold for 'wordy' (raven), got one: it has no exit gate"),
        ({"tokens": [[1], [2]]}, "expected one prompt, got 2: generate for each"),
        ({}, "expected either prompts or tokens=, got both or neither: pass one of them"),
    ],
)
def test_bad_input_is_refused_in_one_line(wordy, options, message):
    with pytest.raises(CaptureError, match=f"^{re.escape(message)}$"):
        ll.generate(wordy, **options)
