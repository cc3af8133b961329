"""Trust against scikit-learn, against pictures that keep everything, and against pictures that keep nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.manifold import trustworthiness
from sklearn.neighbors import NearestNeighbors

import latentlens as ll
from latentlens.embeddings.trust import compare, ranks, stratified
from latentlens.trajectory import Trajectory


def a_run(states):
    """A trajectory of states `[prompt, iteration, position, d_model]` that no model made."""
    shape = (states.shape[0], states.shape[2])
    return Trajectory(states, torch.zeros(shape, dtype=torch.int64), torch.ones(shape, dtype=torch.bool))


def cloud(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("k", [5, 10, 30])
def test_trustworthiness_and_kept_neighbours_are_scikit_learns(k):
    states = cloud(200, 12)
    picture = states[:, :2]
    found, kept = compare(ranks(states), picture, k)
    assert found == pytest.approx(trustworthiness(states.numpy(), picture.numpy(), n_neighbors=k), abs=1e-12)
    near = [NearestNeighbors(n_neighbors=k).fit(x).kneighbors(return_distance=False) for x in (states, picture)]
    share = np.mean([len(set(a) & set(b)) / k for a, b in zip(*near)])
    assert kept == pytest.approx(share, abs=1e-12)


def test_a_picture_that_keeps_everything_is_trusted_fully():
    emb = ll.embed(a_run(cloud(2, 7, 3, 5)), n_components=5)
    assert emb.trust.variance == pytest.approx(1, abs=1e-6)
    assert emb.trust.trustworthiness == 1
    assert emb.trust.neighbours == 1
    assert np.allclose(emb.trust.steps[1:], 1, atol=1e-5)
    assert np.isnan(emb.trust.steps[0])


def test_a_projection_never_lengthens_a_step_and_keeps_the_share_of_variance():
    run = a_run(cloud(3, 9, 4, 20))
    emb = ll.embed(run, n_components=4)
    assert (emb.trust.steps[1:] < 1).all()
    flat = run.states.flatten(0, 2).double()
    kept = emb.transform(flat).double().var(0).sum() / flat.var(0).sum()
    assert emb.trust.variance == pytest.approx(float(kept), abs=1e-6)
    assert emb.trust.variance == pytest.approx(emb.explained_variance_ratio.sum(), abs=1e-6)


def test_steps_are_mean_lengths_in_the_picture_over_true_ones():
    run = a_run(cloud(3, 9, 4, 20))
    emb = ll.embed(run, n_components=2)
    true = run.states.double().diff(dim=1).norm(dim=-1).mean((0, 2))
    drawn = np.linalg.norm(np.diff(emb.coords.values, axis=1), axis=-1).mean((0, 2))
    assert np.allclose(emb.trust.steps[1:], drawn / true.numpy(), rtol=1e-5)


def test_pads_are_no_states():
    states = cloud(2, 5, 3, 6)
    run = a_run(states)
    run.mask[1, 1:] = False
    run.states[1, :, 1:] = 0
    trust = ll.embed(run).trust
    assert trust.states == 20
    assert trust.sample == 20
    true = torch.cat([states[0], states[1, :, :1]], 1).double()
    steps = true.diff(dim=0).norm(dim=-1).mean(1)
    assert np.allclose(ll.embed(run).evidence.steps[1:], steps, rtol=1e-6)


def test_components_that_are_drawn_are_judged_alone():
    emb = ll.embed(a_run(cloud(2, 9, 5, 8)), n_components=6)
    two = emb.trust_of([1, 2])
    assert two.variance == pytest.approx(emb.explained_variance_ratio[:2].sum(), abs=1e-6)
    assert two.trustworthiness < emb.trust.trustworthiness
    with pytest.raises(ll.errors.EmbeddingError, match="^expected components from 1 to 6, got 7: embed with more$"):
        emb.trust_of([1, 7])


def test_a_large_run_is_judged_by_an_equal_share_of_every_iteration():
    tokens = torch.cartesian_prod(torch.arange(40), torch.arange(30))
    index = stratified(tokens, 7, seed=0)
    assert len(index) == 2000
    assert len(index.unique(dim=0)) == 2000
    assert set(index[:, 1].bincount().tolist()) == {285, 286}
    assert torch.equal(index, stratified(tokens, 7, seed=0))
    assert not torch.equal(index, stratified(tokens, 7, seed=1))
    run = a_run(cloud(4, 30, 20, 6))
    said = ll.embed(run).trust.caption
    assert "(2,000 of 2,400 states, an equal share of each iteration)" in said


def test_two_states_have_no_neighbours_to_keep():
    trust = ll.embed(a_run(cloud(1, 2, 1, 4))).trust
    assert trust.k == 0
    assert np.isnan(trust.trustworthiness)
    assert "too few to compare neighbours" in trust.caption


def test_states_that_stand_still_have_no_step_to_keep():
    states = cloud(1, 1, 3, 4).expand(1, 5, 3, 4).clone()
    trust = ll.embed(a_run(states)).trust
    assert np.isnan(trust.steps).all()
    assert "steps" not in trust.caption
