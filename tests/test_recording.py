"""Capture keeps every state, and refuses what cannot be run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from toys import Halving, Scripted

import latentlens as ll
from latentlens.errors import CaptureError, TokenError
from latentlens.models.base import At

DATA = Path(__file__).parent / "data"


def test_every_iteration_of_a_halving_state_is_kept():
    traj = ll.capture(Halving(vocab=4), tokens=[[0, 3, 1]], iterations=5)
    expected = 8 * torch.eye(4)[[0, 3, 1]] / 2 ** torch.arange(6)[:, None, None]
    assert torch.equal(traj.states[0], expected)
    assert traj.iterations == 5


def test_states_are_those_that_a_hand_written_loop_makes(raven):
    ids = torch.tensor([[5, 6, 7, 8]])
    traj = ll.capture(raven, tokens=ids, iterations=4, layers=True)
    with torch.no_grad():
        context = raven.begin(ids)
        state, states, layers = context.state, [context.state], []
        for _ in range(4):
            for layer in raven.layers(state, context):
                state = layer(state)
                layers.append(state)
            states.append(state)
    assert torch.equal(traj.states[0], torch.cat(states))
    assert torch.equal(traj.layer_states[0].flatten(0, 1), torch.cat(layers))
    assert ll.capture(raven, tokens=ids, iterations=4).layer_states is None


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_the_batch_size_does_not_change_the_states(wordy, batch_size):
    prompts = ["the cat sat on the mat", "a", "the mat", "c b a", "cat"]
    whole = ll.capture(wordy, prompts, iterations=6)
    other = ll.capture(wordy, prompts, iterations=6, batch_size=batch_size)
    assert (whole.states - other.states).abs().max() < 1e-4
    assert whole.lengths.tolist() == [6, 1, 2, 3, 1]
    assert whole.str_tokens[2] == ["the", "mat"]


def test_the_models_own_number_of_iterations_is_the_default(raven):
    assert ll.capture(raven, tokens=[[1]]).iterations == 6


def test_a_given_initial_state_is_the_first_state(raven):
    given = torch.randn(1, 2, 64)
    traj = ll.capture(raven, tokens=[[1, 2]], iterations=1, initial_state=given)
    assert torch.equal(traj.states[:, 0], given)


def test_states_are_detached_and_the_model_is_left_as_it_was(raven):
    traj = ll.capture(raven, tokens=[[1, 2]], iterations=2)
    assert not traj.states.requires_grad
    assert not traj.states.is_inference()
    assert not raven.hook_state.fwd_hooks


def test_fewer_iterations_than_asked_says_how_many_came():
    class Impatient(Scripted):
        def run(self, tokens=None, *, iterations=None, on_state=None, **rest):
            return super().run(tokens, iterations=3, on_state=on_state)

    message = "expected 8 iterations of scripted (scripted), got 3: pass iterations=3"
    with pytest.raises(CaptureError, match=f"^{re.escape(message)}$"):
        ll.capture(Impatient(torch.zeros(9, 4)), tokens=[[1]], iterations=8)


def test_progress_is_reported_and_an_exception_in_it_ends_the_run(raven):
    shares = []
    ll.capture(raven, tokens=[[1]], iterations=3, progress=lambda share, what: shares.append((share, what)))
    assert shares == [(0.25, "capture"), (0.5, "capture"), (0.75, "capture"), (1.0, "capture")]

    class Cancelled(Exception):
        pass

    def cancel(share: float, what: str) -> None:
        if share > 0.4:
            raise Cancelled

    with pytest.raises(Cancelled):
        ll.capture(raven, tokens=[[1]], iterations=3, progress=cancel)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "expected either prompts or tokens=, got both or neither: pass one of them"),
        ({"tokens": [[1]], "iterations": 0}, "expected iterations to be a whole number of 1 or more, got 0: leave it out for the model's own 6"),
        ({"tokens": [[1]], "iterations": 2.5}, "expected iterations to be a whole number of 1 or more, got 2.5: leave it out for the model's own 6"),
        ({"tokens": [1, 2]}, "expected token ids of shape [prompt, position], got torch.int64 of shape [2]: for one prompt pass [[1, 2, 3]]"),
        ({"tokens": [[256]]}, "expected token ids from 0 to 255, got 256: were these tokens made for another model than 'raven_random'?"),
        ({"tokens": [[1, 2]], "mask": [[0, 1]]}, "expected prompts padded on the right, got a mask with a gap: move the pads to the end"),
        ({"tokens": [[1]], "seed": -1}, "expected seed to be a whole number of 0 or more, got -1"),
        ({"tokens": [[1]], "batch_size": 0}, "expected batch_size to be a whole number of 1 or more, got 0"),
        ({"tokens": [[1]], "initial_state": torch.zeros(1, 2, 64)}, "expected initial_state of shape [1, 1, 64] [prompt, position, d_model], got [1, 2, 64]"),
        ({"prompts": "a"}, "expected tokens= for 'raven_random', got prompts: the model came without a tokenizer"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_in_one_line(raven, options, message):
    with pytest.raises(CaptureError, match=f"^{re.escape(message)}$"):
        ll.capture(raven, **options)


def test_an_empty_prompt_and_an_unknown_word_are_refused(wordy):
    with pytest.raises(TokenError, match=r"^expected a prompt with at least one token, got ' ': write some text$"):
        ll.capture(wordy, ["a", " "])
    with pytest.raises(TokenError, match=r"^expected words that the model knows, got 'dog': known are a b c cat mat"):
        ll.capture(wordy, "the dog sat")
    with pytest.raises(CaptureError, match=r"^expected at least one prompt, got none$"):
        ll.capture(wordy, [])


def test_at_names_an_iteration_and_a_layer():
    assert At(3) == (3, None)
    assert At(3, 1).layer == 1


@pytest.mark.parametrize("name", ["raven_random", "ouro_random"])
def test_attention_patterns_are_kept_and_change_no_state(name):
    model = ll.load(str(DATA / name))
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    ids = torch.randint(0, 256, (2, 5), generator=torch.Generator().manual_seed(0))
    plain = ll.capture(model, tokens=ids, mask=mask, iterations=3)
    traj = ll.capture(model, tokens=ids, mask=mask, iterations=3, attention=True, batch_size=1)
    pattern = traj.aux["attention"]
    assert (plain.states - traj.states).abs().max() < 1e-4
    assert pattern.shape == (2, 3, 2, 4, 5, 5)
    assert torch.allclose(pattern[0].sum(-1), torch.ones(3, 2, 4, 5), atol=1e-5)
    assert torch.allclose(pattern[1, ..., :3, :3].sum(-1), torch.ones(3, 2, 4, 3), atol=1e-5)
    assert (pattern.triu(1) == 0).all()
    assert (pattern[..., 0, 0][0] == 1).all()


def test_the_kept_pattern_is_what_the_layer_attended_with(raven):
    ids = torch.tensor([[4, 8, 15, 16]])
    pattern = ll.capture(raven, tokens=ids, iterations=1, attention=True).aux["attention"][0, 0, 0]
    with torch.no_grad():
        context = raven.begin(ids)
        x = raven.transformer.adapter(torch.cat([context.state, context.inputs], -1))
        block = raven.transformer.core_block[0]
        own = block.attn(block.norm_1(x), context.extra["rotary"])
        v = block.attn.Wqkv(block.norm_1(x)).unflatten(-1, (3, 4, -1))[..., 2, :, :].transpose(1, 2)
        by_pattern = block.attn.proj((pattern[None] @ v).transpose(1, 2).flatten(2))
    assert torch.allclose(own, by_pattern, atol=1e-5)


def test_attention_of_a_model_of_somebody_elses_is_refused():
    with pytest.raises(CaptureError, match=r"^expected a native model for attention=True, got 'halving' \(scripted\)"):
        ll.capture(Halving(), tokens=[[1]], attention=True)


def test_a_layer_can_be_read_in_place_of_the_state():
    model = ll.load(str(DATA / "ouro_random"))
    traj = ll.capture(model, tokens=[[5, 6, 7]], iterations=3, layers=True)
    assert torch.equal(traj.at_layer(1).states, traj.states)
    first = ll.logits(traj.at_layer(0), "logit", iterations=[2])[0, 0]
    own = model.unembed(model.model.norm(traj.layer_states[0, 1, 0]))
    assert torch.allclose(first, own, atol=1e-6)
    with pytest.raises(CaptureError, match=r"^expected a layer from -2 to 1, got 2$"):
        traj.at_layer(2)
    with pytest.raises(
        CaptureError, match=r"^expected a trajectory with layers, got one without: capture with layers=True$"
    ):
        ll.capture(model, tokens=[[5]]).at_layer(0)
