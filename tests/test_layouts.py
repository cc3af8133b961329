"""UMAP: one joint fit, watched, stopped, repeated and kept."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from test_trust import a_run, cloud
from tqdm import tqdm

import latentlens as ll
from latentlens.embeddings.neighbours import memberships, nearest
from latentlens.errors import EmbeddingError


@pytest.fixture(scope="module")
def runs():
    """Two runs of three tokens on their own paths, 9 iterations, d_model 20."""
    return a_run(cloud(2, 10, 3, 20).cumsum(1)), a_run(cloud(2, 10, 3, 20, seed=1).cumsum(1) + 1)


@pytest.fixture(scope="module")
def emb(runs):
    return ll.embed(runs[0], "umap", n_components=2, progress=False)


def test_every_state_has_coordinates_and_the_parameters_are_kept(emb):
    assert emb.method == emb.attrs["method"] == "umap"
    assert emb.coords.shape == (2, 10, 3, 2)
    assert np.isfinite(emb.coords).all()
    assert emb.coords.attrs["units"] == "1"
    assert emb.layout.parameters == {"n_neighbors": 15, "min_dist": 0.1, "epochs": 500, "seed": 0}
    assert emb.layout.versions["umap-learn"] == __import__("umap").__version__


def test_the_coordinates_are_those_of_the_layout_in_the_order_of_the_states(runs, emb):
    flat = emb.coords.values.reshape(-1, 2)
    assert np.array_equal(flat, emb.layout.coordinates)
    points = emb.frame.project(runs[0].states).reshape(60, -1)
    assert np.allclose(points, emb.layout.points, atol=1e-5)


def test_the_seed_fixes_everything(runs, emb):
    again = ll.embed(runs[0], "umap", n_components=2, progress=False)
    assert again.coords.identical(emb.coords)
    other = ll.embed(runs[0], "umap", n_components=2, seed=1, progress=False)
    assert not np.allclose(other.coords, emb.coords, atol=0.1)


def test_the_neighbours_that_are_kept_are_the_exact_ones(emb):
    distance, index = NearestNeighbors(n_neighbors=15).fit(emb.layout.points).kneighbors(emb.layout.points)
    assert np.allclose(emb.layout.distance, distance, atol=1e-4)
    assert (emb.layout.index == index).mean() > 0.99
    assert (emb.layout.index[:, 0] == np.arange(60)).all()


def test_neighbours_are_used_again_for_another_layout(runs, emb):
    told = []
    near = ll.embed(
        runs[0], "umap", n_components=2, min_dist=0.9, neighbours=emb, progress=lambda share, what: told.append(what)
    )
    assert "neighbours" not in told
    assert near.layout.index is emb.layout.index
    fresh = ll.embed(runs[0], "umap", n_components=2, min_dist=0.9, progress=False)
    assert near.coords.identical(fresh.coords)


def test_progress_tells_of_every_epoch_and_a_cancel_in_the_middle_ends_the_fit(runs):
    told = []
    ll.embed(runs[0], "umap", progress=lambda share, what: told.append((what, share)))
    shares = [share for what, share in told if what == "umap"]
    assert len(shares) == 501
    assert shares[0] == 0
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert {what for what, _ in told} == {"pca", "points", "neighbours", "umap", "coordinates"}

    threads, seen = numba.get_num_threads(), []

    def stop(share, what):
        if what == "umap":
            seen.append(share)
            if share >= 0.5:
                raise OSError(5, "closed")  # tqdm would swallow this one

    with pytest.raises(OSError, match="closed"):
        ll.embed(runs[0], "umap", progress=stop)
    assert seen[-1] == 0.5
    assert numba.get_num_threads() == threads


def test_a_cancelled_layout_lets_go_of_the_lock_of_all_bars(runs):
    """Where it was kept, the next bar of any other thread waited for ever."""

    def cancelled():
        def report(share, what):
            if what == "umap" and share > 0.1:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            ll.embed(runs[0], "umap", n_components=2, progress=report)

    with ThreadPoolExecutor(1) as other:
        other.submit(cancelled).result()
        lock = tqdm.get_lock().th_lock
        assert lock.acquire(timeout=5)
        lock.release()


def test_nothing_is_printed(runs, capfd):
    ll.embed(runs[0], "umap", progress=False)
    told = capfd.readouterr()
    assert (told.out, told.err) == ("", "")


def test_a_new_state_lands_among_its_neighbours(runs, emb):
    """A laid-out state comes close to its own coordinates, not onto them; a far one lands inside the picture."""
    placed = emb.transform(runs[0].states).numpy()
    away = np.linalg.norm(placed - emb.coords.values, axis=-1)
    spread = np.linalg.norm(emb.coords.values.reshape(-1, 2).std(0))
    assert away.min() > 0
    assert away.mean() < 0.5 * spread
    low, high = emb.coords.min(("prompt", "iteration", "position")), emb.coords.max(("prompt", "iteration", "position"))
    far = emb.transform(1e3 * torch.ones(20)).numpy()
    assert (far >= low.values).all()
    assert (far <= high.values).all()


def test_memberships_sum_to_one_and_fall_with_the_distance():
    distance = np.array([[0.0, 1.0, 2.0, 5.0], [0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 9.0]])
    weights = memberships(distance)
    assert np.allclose(weights.sum(1), 1)
    assert (np.diff(weights, axis=1) <= 0).all()
    assert np.allclose(weights[1], 0.25)
    raw = weights[0] / weights[0, 0]
    assert raw.sum() == pytest.approx(np.log2(4), rel=1e-6)  # McInnes, Healy and Melville 2018


def test_neighbours_do_not_depend_on_how_many_are_asked_at_a_time(monkeypatch):
    points = cloud(300, 6).numpy()
    whole = nearest(points, points, 9)
    monkeypatch.setattr("latentlens.embeddings.neighbours.QUERIES", 37)
    parts = nearest(points, points, 9)
    assert np.array_equal(whole[0], parts[0])
    assert np.allclose(whole[1], parts[1], atol=1e-6)


def test_two_runs_are_laid_out_at_once_and_each_has_its_fitted_coordinates(runs):
    a, b = ll.embed(list(runs), "umap", n_components=2, progress=False)
    assert a.layout is b.layout
    joined = np.concatenate([a.coords.values.reshape(-1, 2), b.coords.values.reshape(-1, 2)])
    assert np.array_equal(joined, a.layout.coordinates)
    alone = ll.embed(runs[1], "umap", n_components=2, fit_on=list(runs), progress=False)
    assert alone.coords.identical(b.coords)


def test_what_the_layout_was_not_made_of_is_placed_in_it(runs):
    last = ll.embed(runs[0], "umap", n_components=2, fit_on=-1, progress=False)
    assert len(last.layout.points) == 20
    assert np.array_equal(last.coords.values[:, :, 2].reshape(-1, 2), last.layout.coordinates)
    others = last.transform(runs[0].states[:, :, :2])
    assert np.allclose(last.coords.values[:, :, :2], others, atol=1e-5)
    other = ll.embed(runs[1], "umap", n_components=2, fit_on=runs[0], progress=False)
    assert np.allclose(other.coords, other.transform(runs[1].states), atol=1e-4)


def test_states_that_are_all_the_same_still_have_a_layout():
    same = a_run(torch.ones(1, 8, 3, 20))
    assert np.isfinite(ll.embed(same, "umap", n_components=2, progress=False).coords).all()


def test_the_caption_warns_in_one_line(emb):
    said = emb.trust.caption
    assert said.startswith("UMAP: distances and loops in it are not evidence; trustworthiness ")
    assert "\n" not in said
    assert np.isnan(emb.trust.variance)
    assert "times as long at another iteration" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_neighbors": 60}, "expected n_neighbors from 2 to 59 (states - 1), got 60"),
        ({"n_neighbors": 1}, "expected n_neighbors from 2 to 59 (states - 1), got 1"),
        ({"min_dist": 2}, "expected min_dist from 0 to 1, got 2"),
        ({"pcs": 0}, "expected pcs to be a whole number of 1 or more, got 0"),
        ({"n_components": 21}, "expected n_components from 1 to 20 (principal components), got 21: ask for fewer"),
        ({"seed": -1}, "expected seed to be a whole number of 0 or more, got -1"),
    ],
)
def test_parameters_that_do_not_fit_are_refused_in_one_line(runs, options, message):
    with pytest.raises(EmbeddingError, match=f"^{re.escape(message)}$"):
        ll.embed(runs[0], "umap", progress=False, **options)


def test_neighbours_of_other_states_and_a_umap_as_a_frame_are_refused(runs, emb):
    with pytest.raises(EmbeddingError, match="^expected neighbours of these very states, got those of others: leave n"):
        ll.embed(runs[1], "umap", neighbours=emb, progress=False)
    with pytest.raises(EmbeddingError, match="^expected a UMAP embedding in neighbours, got something else: leave it"):
        ll.embed(runs[0], "umap", neighbours=ll.embed(runs[0]), progress=False)
    with pytest.raises(
        EmbeddingError, match="^expected a PCA embedding in fit_on, got a UMAP, which places new states"
    ):
        ll.embed(runs[1], fit_on=emb)
    with pytest.raises(
        EmbeddingError, match="^expected at least four states for method='umap', got 3: use method='pca"
    ):
        ll.embed(a_run(cloud(1, 1, 3, 4)), "umap", progress=False)
