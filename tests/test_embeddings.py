"""PCA against scikit-learn, as subspaces, from disk, in chosen spaces, and as a frame for states that it has not seen."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.decomposition import PCA
from test_trust import a_run, cloud
from toys import Halving, Scripted

import latentlens as ll
from latentlens.embeddings.sources import source_of
from latentlens.errors import EmbeddingError, StoreError


@pytest.fixture
def traj(wordy):
    return ll.capture(wordy, ["the cat sat on the mat", "a b", "c"], iterations=9)


def flat(traj):
    values = traj.to_xarray().values.reshape(-1, traj.states.shape[-1])
    return values[~np.isnan(values[:, 0])].astype(np.float64)


def same_subspace(emb, rows, count):
    own = PCA(count, svd_solver="full").fit(rows)
    project = emb.components.T @ emb.components
    return np.allclose(project, own.components_.T @ own.components_, atol=1e-5)


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
    assert same_subspace(ll.embed(traj, n_components=5), flat(traj), 5)


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
    many = ll.embed(parts)
    assert all(emb.frame is many[0].frame for emb in many)
    assert np.allclose(many[0].explained_variance, one.explained_variance, rtol=1e-5)
    assert np.allclose(np.abs(many[1].coords[0]), np.abs(one.coords[1, :, :2]), atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_disk_gives_what_memory_gives(traj, tmp_path, dtype):
    traj.states = traj.states.to(dtype)
    path = traj.save(tmp_path / "run.zarr")
    for options in ({}, {"center": "token"}, {"iterations": range(2, 10), "fit_on": -1}):
        memory, disk = ll.embed(traj, **options), ll.embed(path, **options)
        assert disk.coords.identical(memory.coords)
        assert disk.attrs == memory.attrs
        assert disk.trust.caption == memory.trust.caption
    assert ll.embed(str(path)).coords.identical(ll.embed(traj).coords)


def test_the_norm_space_is_what_the_models_norm_says(traj):
    emb = ll.embed(traj, space="norm")
    with torch.no_grad():
        normed = traj.model.norm(traj.states)
    rows = normed.masked_fill(~traj.mask[:, None, :, None], torch.nan).reshape(-1, 64)
    rows = rows[~rows[:, 0].isnan()].double().numpy()
    assert np.allclose(emb.explained_variance, PCA(3).fit(rows).explained_variance_, rtol=1e-5)
    assert np.allclose(emb.transform(traj.states[0]), emb.coords[0], atol=1e-5)


def test_states_on_disk_are_normed_by_the_model_that_made_them(traj, tmp_path, raven):
    path = traj.save(tmp_path / "run.zarr")
    source = source_of(path, model=traj.model)
    assert ll.embed(source, space="norm").coords.identical(ll.embed(traj, space="norm").coords)
    with pytest.raises(
        EmbeddingError, match="^expected a model for space='norm', got states without one: load them with"
    ):
        ll.embed(path, space="norm")
    with pytest.raises(StoreError, match="^expected the model that made .*, .wordy., got .raven_random.$"):
        source_of(path, model=raven)


def test_states_that_are_normed_are_not_normed_again():
    class Normed(Scripted):
        """Its norm halves a state."""

    model = Normed(torch.zeros(6, 4), normed_state=True)
    emb = ll.embed(ll.capture(model, tokens=[[1, 2]]), space="norm")
    # s_0 = 0 is normed to 0, the others stay 1 .. 5
    assert emb.mean.item() == pytest.approx(2.5)


def test_centring_each_token_leaves_only_how_it_moves(traj):
    emb = ll.embed(traj, center="token", n_components=4)
    states = traj.states.double()
    moved = (states - states.mean(1, keepdim=True)).masked_fill(~traj.mask[:, None, :, None], torch.nan).reshape(-1, 64)
    assert same_subspace(emb, moved[~moved[:, 0].isnan()].numpy(), 4)
    assert np.allclose(emb.coords.mean("iteration").fillna(0), 0, atol=1e-5)
    assert np.allclose(emb.transform(traj.states[:1]), emb.coords[:1], atol=1e-5)
    with pytest.raises(
        EmbeddingError, match=r"^expected states \[\.\.\., iteration, position, d_model\] for center='to"
    ):
        emb.transform(traj.states[0, 0])


def test_between_token_variance_dominates_a_joint_frame_and_is_gone_from_a_centred_one():
    """Tokens 100 apart that each move by 1: the joint frame keeps the tokens apart, the centred one the motion."""
    step = torch.linspace(0, 1, 10)[:, None] * torch.tensor([0.0, 0.0, 1.0])
    apart = 100 * torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    run = a_run((apart[None] + step[:, None])[None])
    assert ll.embed(run, n_components=2).trust.steps[1:].max() < 0.1
    assert np.allclose(ll.embed(run, n_components=1, center="token").trust.steps[1:], 1, atol=1e-5)


def test_chosen_iterations_are_all_that_is_laid_out(traj):
    emb = ll.embed(traj, iterations=range(1, 10))
    rows = flat(traj).reshape(-1, 64)
    assert emb.coords.iteration.values.tolist() == list(range(1, 10))
    assert emb.trust.states == 9 * 9
    start = traj.states[:, 1:].masked_fill(~traj.mask[:, None, :, None], torch.nan).reshape(-1, 64)
    assert same_subspace(emb, start[~start[:, 0].isnan()].double().numpy(), 3)
    assert len(rows) == 90
    assert ll.embed(traj, iterations=[-1, 0]).coords.iteration.values.tolist() == [0, 9]


def test_a_frame_of_one_position_holds_the_others_too(traj):
    emb = ll.embed(traj, fit_on=-1)
    last = torch.stack([states[:, int(n) - 1] for states, n in zip(traj.states, traj.lengths)])
    assert same_subspace(emb, last.reshape(-1, 64).double().numpy(), 3)
    assert emb.frame.states == 30
    assert np.isfinite(emb.coords[0]).all()
    assert ll.embed(traj, fit_on=3).frame.states == 10  # two prompts are too short


def test_two_runs_in_the_frame_of_both(traj):
    other = ll.capture(traj.model, traj.prompts, iterations=9, seed=1)
    a, b = ll.embed([traj, other])
    rows = np.concatenate([flat(traj), flat(other)])
    assert same_subspace(a, rows, 3)
    assert a.frame.states == 180
    assert (a.attrs["seed"], b.attrs["seed"]) == (0, 1)
    assert ll.embed(other, fit_on=[traj, other]).coords.identical(b.coords)
    assert ll.embed(other, fit_on=a).coords.identical(b.coords)
    assert np.allclose(b.coords[0], b.transform(other.states[0]), atol=1e-5)


def test_a_frame_that_is_used_again_says_how_much_of_other_states_it_holds():
    one, two = a_run(cloud(1, 50, 4, 6) * torch.tensor([9.0, 1, 1, 1, 1, 1])), a_run(cloud(1, 50, 4, 6, seed=1))
    emb = ll.embed(two, fit_on=ll.embed(one, n_components=1))
    assert emb.explained_variance_ratio[0] > 0.9
    assert emb.trust.variance < 0.3


def test_an_embedding_comes_back_as_it_was(traj, tmp_path):
    for options in ({"space": "norm"}, {"method": "umap", "n_components": 2, "fit_on": -1}):
        emb = ll.embed(traj, progress=False, **options)
        back = ll.Embedding.load(emb.save(tmp_path / "map.safetensors"), model=traj.model)
        assert back.coords.identical(emb.coords)
        assert back.attrs == emb.attrs
        assert back.trust.caption == emb.trust.caption
        assert back.trust.steps.identical(emb.trust.steps)
        assert torch.equal(back.transform(traj.states[0]), emb.transform(traj.states[0]))
        assert back.layout is None or back.layout.parameters == emb.layout.parameters
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["map.safetensors"]


def test_what_is_no_embedding_is_not_read(traj, tmp_path):
    path = tmp_path / "other.safetensors"
    with pytest.raises(
        StoreError, match=r"^expected a saved embedding at .*other\.safetensors, got no file: check the"
    ):
        ll.Embedding.load(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(StoreError, match=r"^expected a saved embedding at .*, got something else: KeyError"):
        ll.Embedding.load(path)
    path.write_bytes(b"\x80\x04\x95 a pickle")
    with pytest.raises(StoreError, match=r"^expected a saved embedding at .*, got something else: SafetensorError"):
        ll.Embedding.load(path)
    save_file({"a": torch.zeros(1)}, path, {"latentlens.embedding": json.dumps({"format": 99})})
    with pytest.raises(StoreError, match=r"^expected an embedding of format 1 at .*, got another: make it again$"):
        ll.Embedding.load(path)
    with pytest.raises(
        StoreError, match=r"^expected a new file x\.safetensors in a folder that exists, got .*map\.pkl$"
    ):
        ll.embed(traj).save(tmp_path / "map.pkl")


def test_few_states_have_as_many_components_as_there_are():
    assert ll.embed(a_run(cloud(1, 2, 1, 7))).coords.sizes["component"] == 2
    assert ll.embed(a_run(cloud(1, 9, 1, 1))).coords.sizes["component"] == 1


def nan_at(prompt, iteration, position, value=torch.nan):
    run = a_run(cloud(2, 5, 3, 4))
    run.states[prompt, iteration, position, 1] = value
    return run


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (None, {"method": "tsne"}, "expected a method (pca, umap), got 'tsne'"),
        (None, {"method": "pcs"}, "expected a method (pca, umap), got 'pcs': did you mean pca?"),
        (None, {"space": "normed"}, "expected a space (raw, norm), got 'normed': did you mean norm?"),
        (None, {"center": "tokens"}, "expected a center (all, token), got 'tokens': did you mean token?"),
        (None, {"fit_on": "al"}, "expected fit_on (all), got 'al': did you mean all?"),
        (None, {"fit_on": 6}, "expected a position from -6 to 5 in fit_on, got 6"),
        (None, {"fit_on": 1.5}, "expected 'all', a position, trajectories or an embedding in fit_on, got float"),
        (None, {"n_components": 0}, "expected n_components to be a whole number of 1 or more, got 0"),
        (None, {"n_components": 65}, "expected n_components from 1 to 64 (d_model), got 65: ask for fewer"),
        (None, {"iterations": [10]}, "expected an iteration from 0 to 9, got 10: capture with more iterations"),
        (None, {"iterations": []}, "expected at least one iteration, got none"),
        (None, {"min_dist": 0.5}, "expected min_dist only for method='umap', got it for 'pca': leave it out"),
        (lambda: a_run(cloud(1, 1, 1, 4)), {}, "expected at least two states to lay out, got 1: capture more iterations"),
        (lambda: a_run(cloud(1, 2, 1, 9)), {"n_components": 3}, "expected n_components from 1 to 2 (states), got 3: ask for fewer"),
        (lambda: nan_at(1, 3, 2), {}, "expected finite states, got NaN or infinity at prompt 1, iteration 3, position 2: leave those iterations out with iterations="),
        (lambda: nan_at(0, 4, 0, torch.inf), {"iterations": [2, 4]}, "expected finite states, got NaN or infinity at prompt 0, iteration 4, position 0: leave those iterations out with iterations="),
        (lambda: a_run(cloud(1, 9, 1, 4)), {"space": "norm"}, "expected a model for space='norm', got states without one: load them with model=, or pass space='raw'"),
        (lambda: [a_run(cloud(1, 9, 1, 4)), a_run(cloud(1, 9, 1, 5))], {}, "expected runs of one width, got 4 and 5: models of different widths have no frame in common"),
        (list, {}, "expected at least one trajectory, got none"),
        (lambda: cloud(1, 9, 1, 4), {}, "expected a trajectory or the path of a saved one, got Tensor: pass what ll.capture returns"),
    ],
)  # fmt: skip
def test_bad_options_are_refused_in_one_line(traj, make, options, message):
    with pytest.raises(EmbeddingError, match=f"^{re.escape(message)}$"):
        ll.embed(make() if make else traj, progress=False, **options)


def test_a_frame_is_used_again_only_as_it_was_made(traj):
    emb = ll.embed(traj, space="norm", n_components=2)
    for options, message in [
        ({}, "expected space='norm', as in the embedding of fit_on, got 'raw'"),
        ({"space": "norm", "center": "token"}, "expected center='all', as in the embedding of fit_on, got 'token'"),
        ({"space": "norm", "n_components": 3}, "expected n_components from 1 to 2 (fit_on's), got 3: ask for fewer"),
        ({"method": "umap"}, "expected method='pca' with an embedding in fit_on, got 'umap': pass trajectories"),
    ]:
        with pytest.raises(EmbeddingError, match=f"^{re.escape(message)}$"):
            ll.embed(traj, fit_on=emb, **options)
    with pytest.raises(EmbeddingError, match=r"^expected states of width 64, got 4: another model\?$"):
        ll.embed(a_run(cloud(1, 9, 1, 4)), fit_on=ll.embed(traj))


def test_states_of_another_width_cannot_be_put_into_the_frame(traj):
    with pytest.raises(EmbeddingError, match=r"^expected states of width 64, got 3: another model\?$"):
        ll.embed(traj).transform(torch.zeros(3))
    emb = ll.embed(traj, space="norm")
    emb.model = None
    with pytest.raises(EmbeddingError, match="^expected a model for space='norm', got none: pass Embedding.load"):
        emb.transform(traj.states[0])


def test_left_out_iterations_may_be_unfinite():
    emb = ll.embed(nan_at(1, 4, 2), iterations=range(4))
    assert np.isfinite(emb.coords).all()


def test_a_cancel_in_the_middle_of_a_pca_ends_it(traj):
    def stop(share, what):
        if share > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ll.embed(traj, progress=stop)
