"""The streamed covariance against numpy in float64 and scikit-learn, in any order and any number of parts."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from latentlens.embeddings.covariance import Covariance
from latentlens.errors import EmbeddingError


def cloud(count, width, seed=0, far=0.0):
    generator = torch.Generator().manual_seed(seed)
    spread = torch.logspace(0, -3, width)
    return torch.randn(count, width, generator=generator) * spread + far


def streamed(*parts, width=None):
    out = Covariance(width or parts[0].shape[-1])
    for part in parts:
        out.add(part)
    return out


@pytest.mark.parametrize("count", [3, 40, 5000])
@pytest.mark.parametrize(
    ("dtype", "close"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-6), (torch.float16, 1e-6), (torch.float64, 1e-12)]
)
def test_count_mean_and_covariance_are_numpys(count, dtype, close):
    states = cloud(count, 50).to(dtype)
    found, exact = streamed(states), states.double().numpy()
    assert found.count == count
    assert np.allclose(found.mean, exact.mean(0), atol=close)
    assert np.allclose(found.matrix, np.cov(exact.T), atol=close * np.var(exact, axis=0).max())


@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-10), (torch.float32, 1e-6)])
def test_states_far_from_zero_lose_nothing(dtype, close):
    """Where scikit-learn's `covariance_eigh` loses everything in float32: squares of 1e4 have no room for 1e-6."""
    states = cloud(6000, 30, far=1e4).to(dtype)
    exact = np.cov(states.double().numpy().T)
    assert np.allclose(streamed(*states.split(700)).matrix, exact, atol=close)
    lost = PCA(30, svd_solver="covariance_eigh").fit(states.numpy()).get_covariance()
    assert dtype == torch.float64 or not np.allclose(lost, exact, atol=0.1)


def test_first_states_that_are_far_from_all_others_lose_nothing():
    states = torch.cat([cloud(3000, 30, far=1e3), cloud(60_000, 30, seed=1)])
    found, exact = streamed(*states.split(1000)), np.cov(states.double().numpy().T)
    assert np.allclose(found.matrix, exact, atol=1e-6 * exact.max())
    assert np.allclose(found.mean, states.double().mean(0), atol=1e-4)


@pytest.mark.parametrize("scale", [2.0**80, 2.0**-80])
def test_squares_that_float32_cannot_hold_are_taken_in_float64(scale):
    states = cloud(5000, 30)
    assert torch.allclose(streamed(scale * states).matrix / scale**2, streamed(states).matrix, atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(cuts=st.lists(st.integers(1, 4999), min_size=1, max_size=6), seed=st.integers(0, 5))
def test_merged_parts_are_one_pass_however_they_are_cut(cuts, seed):
    states = cloud(5000, 20, seed).double()
    edges = [0, *sorted(set(cuts)), 5000]
    parts = [streamed(states[a:b]) for a, b in pairwise(edges)]
    whole, joined = streamed(states), Covariance(20)
    for part in parts:
        joined.merge(part)
    assert joined.count == 5000
    assert np.allclose(joined.matrix, whole.matrix, rtol=1e-12, atol=1e-12)
    assert np.allclose(joined.mean, whole.mean, atol=1e-12)


def test_merging_leaves_the_other_as_it_was_and_goes_both_ways():
    one, two = streamed(cloud(4000, 10)), streamed(cloud(30, 10, seed=1))
    before = two.matrix.clone()
    other = streamed(cloud(30, 10, seed=1))
    other.merge(one)
    one.merge(two)
    assert torch.equal(two.matrix, before)
    assert torch.allclose(one.matrix, other.matrix, atol=1e-12)


@pytest.mark.parametrize("count", [200, 5000])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-9), (torch.float32, 1e-6)])
def test_leading_directions_are_scikit_learns(count, dtype, close):
    states = cloud(count, 300).to(dtype)
    variance, directions, total = streamed(states).leading(8)
    own = PCA(8, svd_solver="full").fit(states.double().numpy())
    assert np.allclose(variance, own.explained_variance_, rtol=close)
    assert np.allclose(np.abs((directions.numpy() * own.components_).sum(1)), 1, atol=1e-9)
    assert total == pytest.approx(float(states.double().var(0).sum()), rel=close)


@pytest.mark.parametrize("count", [40, 6000])
def test_a_repeated_eigenvalue_gives_scikit_learns_subspace(count):
    """Four directions of one variance, then four of another, exactly; beyond them nothing repeats."""
    generator = torch.Generator().manual_seed(3)
    rotation = torch.linalg.qr(torch.randn(60, 60, generator=generator, dtype=torch.float64)).Q
    rows = torch.randn(count, 8, generator=generator, dtype=torch.float64)
    rows = torch.linalg.qr(rows - rows.mean(0)).Q * torch.tensor([2.0] * 4 + [1.0] * 4, dtype=torch.float64)
    states = rows @ rotation[:8]
    _, directions, _ = streamed(states).leading(8)
    own = PCA(8, svd_solver="full").fit(states.numpy()).components_
    for kept in (slice(0, 4), slice(0, 8)):
        assert np.allclose(directions[kept].T @ directions[kept], own[kept].T @ own[kept], atol=1e-9)


def test_directions_without_variance_are_still_orthonormal():
    variance, directions, _ = streamed(torch.eye(3, 20)).leading(3)
    assert torch.allclose(directions @ directions.T, torch.eye(3, dtype=torch.float64), atol=1e-12)
    assert variance[2] < 1e-15


def test_few_states_and_many_agree_where_one_becomes_the_other():
    states = cloud(120, 100).double()
    few, many = streamed(states[:99]), streamed(states[:99])
    many.matrix  # noqa: B018 (asked for, it is made, and from then on it is what is kept)
    assert torch.allclose(few.leading(5)[0], many.leading(5)[0], rtol=1e-9)
    assert torch.allclose(few.leading(5)[1], many.leading(5)[1], atol=1e-8)


def test_what_was_added_can_be_written_over():
    states = cloud(50, 10)
    found, exact = streamed(states), np.cov(states.double().numpy().T)
    states.zero_()
    assert np.allclose(found.matrix, exact, atol=1e-12)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: streamed(torch.zeros(2, 3), width=4), "expected states [..., 4], got [2, 3]: another model?"),
        (lambda: streamed(torch.tensor([[1.0, torch.nan]])), "expected finite states, got NaN or infinity: leave them out"),
        (lambda: streamed(torch.tensor([[torch.inf, 0.0]])), "expected finite states, got NaN or infinity: leave them out"),
        (lambda: streamed(torch.zeros(1, 3)).leading(1), "expected at least two states to lay out, got 1: capture more iterations"),
        (lambda: streamed(torch.zeros(9, 3)).leading(4), "expected n_components from 1 to 3 (d_model), got 4: ask for fewer"),
        (lambda: streamed(torch.zeros(3, 9)).leading(4), "expected n_components from 1 to 3 (states), got 4: ask for fewer"),
        (lambda: Covariance(3).merge(Covariance(4)), "expected a covariance of width 3, got 4: another model?"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_line(act, message):
    with pytest.raises(EmbeddingError, match=f"^{re.escape(message)}$"):
        act()
