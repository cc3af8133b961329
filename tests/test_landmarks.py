"""Candidates in the map, on a model whose logits are its state: every answer is known."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from toys import Halving

import latentlens as ll
from latentlens.errors import EmbeddingError
from latentlens.landmarks import anchors, arrow, regions


@pytest.fixture
def traj():
    return ll.capture(Halving(vocab=6, iterations=5), tokens=[[0, 1, 2, 3], [4, 5, 0, 1]])


def test_an_anchor_is_the_centroid_of_the_states_that_a_token_leads(traj):
    emb = ll.embed(traj, n_components=2)
    found = anchors(emb, ll.decode(traj, progress=False))
    assert found.token.values.tolist() == [0, 1, 2, 3, 4, 5]
    assert found.states.values.tolist() == [12, 12, 6, 6, 6, 6]
    mine = emb.coords.values[traj.tokens.numpy()[:, None].repeat(6, 1) == 1]
    assert np.allclose(found.coordinate[1], mine.mean(0), atol=1e-6)
    few = anchors(ll.embed(traj, n_components=2, iterations=[2, 5]), ll.decode(traj, progress=False), [3])
    assert few.states.values.tolist() == [2]


def test_an_arrow_is_the_projected_gradient_of_the_logit(traj):
    emb = ll.embed(traj, n_components=4)
    for token in range(6):
        exact = emb.components[:, token]  # the logits are the state
        assert np.allclose(arrow(emb, traj, token), exact, atol=1e-6)


def test_an_arrow_goes_through_the_coda(wordy):
    """Against a central difference of the logit along each component."""
    traj = ll.capture(wordy, ["the cat sat", "a b"], iterations=4)
    emb = ll.embed(traj, n_components=3)
    found = arrow(emb, traj, 6, prompt=0, iteration=3, position=1)
    context = wordy.begin(traj.tokens[:1], initial_state=traj.states[:1, 0])
    for component, slope in zip(emb.components.float(), found):
        ends = []
        for sign in (1, -1):
            state = traj.states[:1, 3].clone()
            state[0, 1] += sign * 0.05 * component
            ends.append(float(wordy.finish(state, context)[0, 1, 6]))
        assert slope == pytest.approx((ends[0] - ends[1]) / 0.1, rel=2e-2, abs=2e-3)


def test_a_slice_is_decoded_with_everything_else_held(traj):
    emb = ll.embed(traj, n_components=2)
    found = regions(emb, traj, prompt=1, iteration=2, position=0, size=9)
    state, here = traj.states[1, 2, 0].double(), emb.coords.values[1, 2, 0]
    for i, y in enumerate(found.y.values):
        for j, x in enumerate(found.x.values):
            moved = state + torch.tensor([x - here[0], y - here[1]]).double() @ emb.components
            leader = moved[int(found.top_token[i, j])]
            assert leader == pytest.approx(float(moved.max()), abs=1e-5)  # two tokens may lead together
            assert found.top_prob[i, j] == pytest.approx(float(moved.softmax(0).max()), abs=1e-5)
    assert found.attrs["slice"] == "a slice through the state of prompt 1, iteration 2, position 0"


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda t: ll.mark(t, ll.embed(t), ll.decode(t)), "expected what ll.embed and ll.decode return to find anchors in, got Trajectory and Dataset"),
        (lambda t: regions(ll.embed(t), t, size=49), "expected size from 2 to 48, got 49"),
        (lambda t: regions(ll.embed(t), t, components=(1, 4)), "expected two components from 1 to 3, got (1, 4)"),
        (lambda t: regions(ll.embed(t), t, position=4), "expected position from -4 to 3, got 4"),
        (lambda t: arrow(ll.embed(t), t, 0, iteration=6), "expected iteration from -6 to 5, got 6"),
        (lambda t: arrow(ll.embed(t, space="norm"), t, 0), "expected a PCA of raw states, got pca of norm ones: a point of that map is no one state"),
        (lambda t: arrow(ll.embed(t, center="token"), t, 0), "expected a frame with center='all', got 'token': its points stand for each token's own states"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_line(traj, act, message):
    with pytest.raises(EmbeddingError, match=f"^{re.escape(message)}$"):
        act(traj)
