"""PCA against scikit-learn, as subspaces, and as a frame for states that it has not seen."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from toys import Halving

import latentlens as ll
from latentlens.errors import EmbeddingError


@pytest.fixture
def traj(wordy):
    return ll.capture(wordy, ["the cat sat on the mat", "a b", "c"], iterations=9)


def flat(traj):
    values = traj.to_xarray().values.reshape(-1, traj.states.shape[-1])
    return values[~np.isnan(values[:, 0])].astype(np.float64)


def test_a_joint_pca_is_scikit_learns_on_the_real_states(traj):
    emb = ll.embed(traj, n_components=5)
    own = PCA(5, svd_solver="full").fit(flat(traj))
    assert np.allclose(emb.explained_variance, own.explained_variance_, rtol=1e-5)
    assert np.allclose(emb.explained_variance_ratio, own.explained_variance_ratio_, atol=1e-5)
    assert np.allclose(np.abs((emb.components.numpy() * own.components_).sum(1)), 1, atol=1e-5)
    coords = emb.coords.values.reshape(-1, 5)
    coords = coords[~np.isnan(coords[:, 0])]
    assert np.allclose(np.abs(coords), np.abs(own.transform(flat(traj))), atol=1e-4)
    assert emb.trust["variance"] == pytest.approx(own.explained_variance_ratio_.sum(), abs=1e-5)


def test_repeated_eigenvalues_give_the_same_subspace():
    traj = ll.capture(Halving(vocab=6, iterations=3), tokens=[[0, 1, 2, 3, 4, 5]])
    emb = ll.embed(traj, n_components=5)
    own = PCA(5, svd_solver="full").fit(flat(traj))
    project = emb.components.T @ emb.components
    assert np.allclose(project, own.components_.T @ own.components_, atol=1e-5)


def test_components_are_orthonormal_and_point_the_way_of_their_largest_entry(traj):
    emb = ll.embed(traj, n_components=4)
    assert torch.allclose(emb.components @ emb.components.T, torch.eye(4, dtype=torch.float64), atol=1e-9)
    assert all(row[row.abs().argmax()] > 0 for row in emb.components)


def test_pads_have_no_coordinates_and_states_are_where_transform_puts_them(traj):
    emb = ll.embed(traj)
    assert np.isnan(emb.coords[1, :, 2:]).all()
    assert not np.isnan(emb.coords[1, :, :2]).any()
    assert np.allclose(emb.transform(traj.states[0, 3, 1]), emb.coords[0, 3, 1])


def test_the_frame_does_not_depend_on_how_the_prompts_are_split(traj):
    one = ll.embed(traj)
    parts = [ll.capture(traj.model, [p], iterations=9) for p in traj.prompts]
    joined = np.concatenate([flat(part) for part in parts])
    assert np.allclose(one.mean, joined.mean(0), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "tsne"}, "expected a method (pca, umap), got 'tsne'"),
        ({"n_components": 0}, "expected n_components to be a whole number of 1 or more, got 0"),
        ({"n_components": 65}, "expected n_components from 1 to 64 (d_model), got 65"),
    ],
)
def test_bad_options_are_refused_in_one_line(traj, options, message):
    with pytest.raises(EmbeddingError, match=f"^{re.escape(message)}$"):
        ll.embed(traj, **options)


def test_states_of_another_width_cannot_be_put_into_the_frame(traj):
    with pytest.raises(EmbeddingError, match=r"^expected states of width 64, got 3: another model\?$"):
        ll.embed(traj).transform(torch.zeros(3))
