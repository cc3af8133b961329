"""Every statistic against float64 arithmetic of its own, on random logits and on hard ones; and how they are streamed."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
import xarray as xr
from heads import made_up, of_logits
from hypothesis import given, settings
from hypothesis import strategies as st

import latentlens as ll
from latentlens.errors import ReadoutError, StoreError
from latentlens.quantities import DEFAULT, ON_REQUEST
from latentlens.readouts import passes, sweeps
from latentlens.readouts.ordering import best, greater, nucleus
from latentlens.readouts.said import Said
from latentlens.readouts.statistics import divergences, plain_entropy, plain_kl

STEPS = ("kl_step", "kl_step_back")


def random_logits(count: int, vocab: int, spread: float, offset: float = 0.0) -> torch.Tensor:
    made = torch.Generator().manual_seed(count * vocab)
    return torch.randn(count, vocab, generator=made) * spread + offset


def hard(name: str) -> torch.Tensor:
    """Logits that arithmetic in float32 may stumble over, `[iteration, vocab]`."""
    if name == "one-hot":
        return 100.0 * torch.eye(7, 300)
    if name == "uniform":
        return torch.zeros(6, 1000)
    if name == "ties":
        return torch.randint(0, 3, (6, 700), generator=torch.Generator().manual_seed(1)).float()
    if name == "padded":  # beyond the tokenizer's last token nothing is possible
        z = random_logits(8, 650, 3)
        z[:, 600:] = -torch.inf
        return z
    if name == "ruled out":  # some tokens are impossible after some iterations only
        z = random_logits(8, 650, 3)
        z[::2, 17:40] = -torch.inf
        return z
    if name == "lowest":
        z = random_logits(8, 650, 3)
        z[:, 600:] = torch.finfo(torch.float32).min
        return z
    if name == "far from zero":
        return random_logits(9, 2000, 4, -300)
    if name == "flat":
        return random_logits(9, 20_000, 0.01)
    if name == "one token":
        return torch.tensor([[1.0], [2.0], [3.0]])
    return random_logits({"random": 9, "many": 40}[name], 20_000 if name == "random" else 500, 4)


HARD = ["random", "many", "one-hot", "uniform", "ties", "padded", "ruled out", "lowest", "far from zero", "flat", "one token"]  # fmt: skip


def kl(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(p > 0, p * (np.log2(p) - np.log2(q)), 0).sum(-1)


def by_hand(logits: torch.Tensor) -> dict[str, np.ndarray]:
    """Every statistic by iteration in float64, from its definition."""
    z = logits.double().numpy()
    e = np.exp(z - z.max(-1, keepdims=True))
    p = e / e.sum(-1, keepdims=True)
    end = np.broadcast_to(p[-1], p.shape)
    before = np.concatenate([np.full_like(p[:1], np.nan), p[:-1]])
    ranked = -np.sort(-p, axis=-1)
    mixed = (p + end) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.where(p > 0, p * np.log2(p), 0).sum(-1)
    return {
        "entropy": entropy,
        "kl_to_final": kl(p, end),
        "missing_bits": kl(end, p),
        "kl_step": np.append(np.nan, kl(before[1:], p[1:])),
        "kl_step_back": np.append(np.nan, kl(p[1:], before[1:])),
        "js_to_final": (kl(p, mixed) + kl(end, mixed)) / 2,
        "total_variation": np.abs(p - end).sum(-1) / 2,
        "agreement": (p.argmax(-1) == p[-1].argmax()).astype(float),
        "margin": ranked[:, 0] - ranked[:, 1] if p.shape[1] > 1 else ranked[:, 0],
        "nucleus_size": 1.0 + (ranked.cumsum(-1) < 0.9 - 1e-6).sum(-1),
    }


@pytest.fixture
def swept(monkeypatch):
    """However few the logits are, go over them with the compiled sweeps; how many sweeps said all."""
    found, sweep = [], Said.swept

    def counted(*given):
        said = sweep(*given)
        found.append(said is not None)
        return said

    monkeypatch.setattr(passes, "LARGE", 0)
    monkeypatch.setattr(Said, "swept", counted)
    return found


WAYS = ["whole", "windows", "swept"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", HARD)
def test_every_statistic_is_its_definition_in_float64(name, way, request):
    logits, budget = hard(name), 1 if way == "windows" else 2**29
    sweeps_made = request.getfixturevalue("swept") if way == "swept" else []
    tracked = [0, logits.shape[1] - 1] if logits.shape[1] > 1 else [0]
    out = ll.decode(of_logits(logits), statistics="all", track=tracked, top_k=3, budget=budget)
    cell = out.isel(prompt=0, position=0)
    for statistic, exact in by_hand(logits).items():
        np.testing.assert_allclose(cell[statistic], exact, atol=1e-5, rtol=3e-6, err_msg=statistic)
    z = logits.double()
    logp = (z - z.logsumexp(-1, keepdim=True)).numpy()
    np.testing.assert_allclose(cell.prob, np.exp(logp[:, tracked]), atol=1e-7, rtol=3e-5)
    with np.errstate(over="ignore"):  # a probability of 2^-10^38 is none in float32
        surprisal = (-logp[:, tracked] / math.log(2)).astype(np.float32)
    np.testing.assert_allclose(cell.surprisal, surprisal, atol=1e-5, rtol=1e-6)
    assert (cell["rank"].values == (z.numpy()[:, None] > z.numpy()[:, tracked, None]).sum(-1)).all()
    order = np.argsort(-z.numpy(), axis=-1, kind="stable")[:, :3]  # of equal logits the lowest id first
    assert (cell.top_token.values == order).all()
    assert cell.leader_changes.item() == (np.diff(order[:, 0]) != 0).sum()
    assert all(sweeps_made) or name in ("padded", "ruled out")
    assert bool(sweeps_made) == (way == "swept")


@pytest.mark.parametrize("name", ["random", "many", "one-hot", "ties", "far from zero", "flat"])
def test_products_of_probabilities_and_logits_say_what_the_plain_formulas_say(name):
    logits = hard(name)
    logp = logits.log_softmax(-1)
    said = Said.read(logits[None].clone(), 2).relative()
    out = divergences(said, said.at(slice(-1, None)), ends=True, wanted={"kl_step_back"})
    torch.testing.assert_close(out["entropy"][0], plain_entropy(logp), atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(out["missing_bits"][0], plain_kl(logp[-1:], logp), atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(out["kl_step"][0, 1:], plain_kl(logp[:-1], logp[1:]), atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(out["kl_step_back"][0, 1:], plain_kl(logp[1:], logp[:-1]), atol=2e-5, rtol=1e-5)


def test_what_two_answers_share_nothing_of_is_one_bit_and_all_of_the_mass_away():
    out = ll.decode(of_logits(torch.tensor([[200.0, 0, 0], [0, 200.0, 0]])), statistics="all").isel(
        prompt=0, position=0
    )
    assert out.js_to_final.values.tolist() == [1, 0]
    assert out.total_variation.values.tolist() == [1, 0]
    assert out.agreement.values.tolist() == [0, 1]
    assert out.margin.values.tolist() == [1, 1]
    assert out.nucleus_size.values.tolist() == [1, 1]
    assert out.leader_changes.item() == 1


def test_an_answer_that_the_last_one_rules_out_is_infinitely_far_from_it():
    out = ll.decode(of_logits(torch.tensor([[0.0, 0.0], [0.0, -torch.inf]]))).isel(prompt=0, position=0)
    assert out.kl_to_final.values.tolist() == [math.inf, 0]
    assert out.missing_bits.values.tolist() == [1, 0]


def test_the_default_set_is_always_there_and_the_rest_only_on_request():
    traj = made_up(50, 8, 4, 3)
    plain, one, every = (ll.decode(traj, statistics=names) for names in ((), "margin", "all"))
    assert not set(ON_REQUEST) & set(plain.data_vars)
    assert set(DEFAULT) | {"other_prob"} <= set(plain.data_vars)
    assert set(one.data_vars) - set(plain.data_vars) == {"margin"}
    assert set(every.data_vars) - set(plain.data_vars) == set(ON_REQUEST)
    assert every.entropy.equals(plain.entropy)


def test_candidates_and_other_are_all_of_the_mass():
    out = ll.decode(made_up(500, 8, 12, 3), max_candidates=3)
    assert np.allclose(out.prob.sum("candidate") + out.other_prob, 1, atol=1e-6)
    assert (out.other_prob > 0.01).any()


def test_surprisal_of_the_next_token_does_not_underflow():
    traj = of_logits(torch.tensor([[0.0, 1000.0], [0.0, 0.0]]))
    traj.tokens, traj.mask = torch.tensor([[1, 0]]), torch.ones(1, 2, dtype=torch.bool)
    traj.states = traj.states.expand(-1, -1, 2, -1)
    out = ll.decode(traj, track="next", statistics="surprisal")
    assert np.allclose(out.surprisal[0, :, 0, 0], [1000 / math.log(2), 1])
    assert float(out.prob[0, 0, 0, 0]) == 0
    assert np.isnan(out.surprisal[0, :, 1]).all()


def test_a_random_start_changes_no_leader():
    traj = of_logits(torch.tensor([[0.0, 9], [3, 0], [3, 0], [0, 3]]))
    assert ll.decode(traj, statistics="leader_changes").leader_changes.item() == 2
    traj.model.random_start = True
    assert ll.decode(traj, statistics="leader_changes").leader_changes.item() == 1


@pytest.mark.parametrize("vocab", [1000, 1024, 1087])
def test_the_best_of_many_are_the_first_of_a_stable_sort(vocab):
    z = torch.randint(0, 40, (5, 3, vocab), generator=torch.Generator().manual_seed(vocab)).float()
    z[0, 0] = 0
    z[0, 1, ::2] = -torch.inf
    values, ids = best(z, 3)
    exact = torch.sort(z, dim=-1, descending=True, stable=True)
    assert (ids == exact.indices[..., :3]).all()
    assert (values == exact.values[..., :3]).all()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(-3, 3), min_size=9, max_size=9), min_size=1, max_size=5), st.integers(1, 9))
def test_ranks_count_what_is_strictly_greater_however_few_of_the_best_are_known(rows, depth):
    z = torch.tensor(rows, dtype=torch.float32)
    top, exact = best(z, depth)[0], (z[:, None] > z[..., None]).sum(-1)
    assert (greater(z, z, top) == exact).all()
    assert (sweeps.greater(z[None], z[None], top[None]) == exact).all()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=200).filter(any), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_nucleus_is_as_small_as_it_can_be(weights, share):
    p = torch.tensor(weights, dtype=torch.float64)
    p = p / p.sum()
    ranked = p.sort(descending=True).values.cumsum(0)
    exact = int((ranked < share - 1e-6).sum()) + 1
    assert int(nucleus(p.float(), share)) == exact
    z = p.log().float()[None, None]
    assert int(sweeps.nucleus(z, z.amax(-1), share)) == exact


def test_no_more_rows_are_unembedded_at_once_than_the_budget_has_room_for():
    traj = made_up(4000, 8, 12, 30, prompts=3)
    whole = ll.decode(traj, "logit", statistics="all")
    for budget in (2**20, 2**22, 2**24):
        traj.model.most_rows = 0
        part = ll.decode(traj, "logit", statistics="all", budget=budget)
        assert traj.model.most_rows * 4000 * 4 <= budget
        xr.testing.assert_allclose(part.drop_vars("rank"), whole.drop_vars("rank"), atol=2e-5)
        # a product of other rows at once rounds otherwise: two logits next to each other may change places
        assert abs(part["rank"] - whole["rank"]).max() <= 1


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_a_sweep_says_the_same_on_any_number_of_threads(threads, swept):
    before, traj = torch.get_num_threads(), of_logits(hard("random"))
    one = ll.decode(traj, statistics="all")
    try:
        torch.set_num_threads(threads)
        xr.testing.assert_allclose(ll.decode(traj, statistics="all"), one, atol=1e-6)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("row", [3, -1])
@pytest.mark.parametrize("value", [torch.nan, -torch.inf, torch.inf])
def test_a_sweep_over_what_is_not_finite_says_what_whole_tensors_say(value, row, request):
    z = hard("many")
    z[row, 100:200] = value
    plain = ll.decode(of_logits(z), statistics="all", track=[0, 150])
    made = request.getfixturevalue("swept")
    xr.testing.assert_allclose(ll.decode(of_logits(z), statistics="all", track=[0, 150]), plain, atol=2e-5)
    # logits of +inf are NaN beside the best; those of -inf are what needs whole tensors
    assert made == [value != -torch.inf]


class Whole(ll.LogitLens):
    """All logits of an iteration at once, as a lens of one method gives them."""

    def logits(self, model, state, context, iteration):
        return super().logits(model, state, context, iteration)


@pytest.mark.parametrize("lens", [ll.LogitLens(), Whole()])
@pytest.mark.parametrize("track", [None, "next", {"several": [1, 2, 2999], "next": "next"}])
def test_sweeps_over_many_places_say_what_whole_tensors_say(track, lens, monkeypatch, request):
    traj = made_up(3000, 8, 6, 7, prompts=3)
    traj.mask[1, 4:] = traj.mask[2, 1:] = False
    plain = ll.decode(traj, lens, statistics="all", track=track)
    made = request.getfixturevalue("swept")
    for size in (2**30, 5 * 6 * 4 * 3000):
        monkeypatch.setattr(passes, "SWEEP", size)
        xr.testing.assert_allclose(ll.decode(traj, lens, statistics="all", track=track), plain, atol=2e-5)
    assert made == [True] * 4  # all twelve tokens at once, then five, five and two


def test_a_lens_that_gives_whole_logits_says_the_same_within_any_budget():
    traj = made_up(3000, 8, 9, 20, prompts=2)
    rows = ll.decode(traj, "logit", statistics="all")
    for budget in (1, 2**22, 2**29):
        xr.testing.assert_allclose(ll.decode(traj, Whole(), statistics="all", budget=budget), rows, atol=2e-5)


def test_each_state_is_unembedded_once_though_its_leaders_are_known_only_at_the_end():
    traj = made_up(3000, 8, 9, 20, prompts=2)
    rows = 0

    class Counting(ll.LogitLens):
        def head(self, model, hidden):
            nonlocal rows
            rows += hidden[..., 0].numel()
            return super().head(model, hidden)

    ll.decode(traj, Counting())
    assert rows == 2 * 9 * 20


def test_a_saved_run_and_a_running_model_decode_as_the_trajectory_does(wordy, tmp_path):
    prompts = ["the cat sat on the mat", "a b", "c"]
    traj = ll.capture(wordy, prompts, iterations=5, seed=3)
    memory = ll.decode(traj, "logit", statistics="all")
    disk = ll.decode(traj.save(tmp_path / "r.zarr"), "logit", model=wordy, statistics="all")
    fly = ll.decode(wordy, prompts, lens="logit", iterations=5, seed=3, statistics="all", budget=2**16)
    assert disk.equals(memory)
    assert disk.attrs == memory.attrs == fly.attrs
    xr.testing.assert_allclose(fly, memory, atol=1e-4)
    assert ll.decode(wordy, tokens=[[6, 7]], iterations=2).sizes["iteration"] == 3


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_statistics_are_float32_whatever_the_states_are_in(folder, dtype):
    model = ll.load(str(folder), dtype=dtype)
    traj = ll.capture(model, "the cat sat", iterations=4)
    out = ll.decode(traj, track="next", statistics="all")
    own = model.run(traj.tokens, iterations=4).float().log_softmax(-1)[0]
    exact = own.exp().double()
    floats = [v.dtype for v in out.data_vars.values() if v.dtype.kind == "f"]
    assert set(floats) == {np.dtype("float32")}
    assert np.allclose(np.log(out.top_prob[0, -1]), own.topk(10).values, atol=1e-5)
    assert np.allclose(out.entropy[0, -1], -(exact * exact.log2()).sum(-1), atol=1e-5)
    assert np.allclose(out.surprisal[0, -1, :2, 0], -own[[0, 1], traj.tokens[0, 1:]] / math.log(2), atol=1e-5)


def test_a_statistic_is_a_tidy_table_in_one_call(wordy):
    out = ll.decode(ll.capture(wordy, ["the cat", "a"], iterations=2), statistics="margin")
    table = out[["entropy", "margin"]].to_dataframe().dropna().reset_index()
    assert len(table) == 3 * 3
    assert table.columns.tolist() == ["prompt", "iteration", "position", "entropy", "margin"]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda m, t, p: ll.decode(t, statistics="margins"), ReadoutError, "expected a statistic (all, entropy, kl_to_final, missing_bits, kl_step, kl_step_back, js_to_final, total_variation, agreement, margin, nucleus_size, leader_changes, surprisal), got 'margins': did you mean margin?"),
        (lambda m, t, p: ll.decode(t, iterations=3), ReadoutError, "expected iterations= only with a model, got it with a trajectory, which has run already: leave iterations out"),
        (lambda m, t, p: ll.decode(t, prompts="a"), ReadoutError, "expected prompts= only with a model, got it with a trajectory, which has run already: leave prompts out"),
        (lambda m, t, p: ll.decode(t, model=m), ReadoutError, "expected model= only with a trajectory's path, got it with a trajectory, which knows its model: leave model out"),
        (lambda m, t, p: ll.decode(m, "a", model=m), ReadoutError, "expected model= only with a trajectory's path, got it with a model, which is the one that runs: leave model out"),
        (lambda m, t, p: ll.decode(m, ll.LogitLens()), ReadoutError, "expected prompts after a model, got the lens 'logit': pass lens="),
        (lambda m, t, p: ll.decode(m, "a", prompts="a"), ReadoutError, "expected prompts once, got them twice: leave prompts= out"),
        (lambda m, t, p: ll.decode(t, "logit", lens="coda"), ReadoutError, "expected a lens once, got it twice: leave lens= out"),
        (lambda m, t, p: ll.decode(3), ReadoutError, "expected a trajectory, the path of a saved one, or a model with prompts, got int: pass what ll.capture returns"),
        (lambda m, t, p: ll.decode(p), ReadoutError, "expected model= beside the path of a trajectory, got 'PATH' alone: pass model=ll.load('wordy')"),
        (lambda m, t, p: ll.decode(p.parent / "no", model=m), StoreError, "expected a trajectory folder at FOLDER/no, got none: check the path"),
        (lambda m, t, p: ll.decode(ll.Trajectory(t.states[:0], t.tokens[:0], t.mask[:0], model=m)), ReadoutError, "expected a trajectory with states, got an empty one: capture at least one prompt"),
        (lambda m, t, p: ll.decode(t, track=["the cat"]), ll.errors.TokenError, "expected one token, got 'the cat', which is 2 ('the', 'cat'): name one of them"),
        (lambda m, t, p: ll.decode(t, top_k=300), ReadoutError, "expected top_k of at most 256, the vocabulary, got 300"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused_in_one_line(wordy, tmp_path, call, error, message):
    traj = ll.capture(wordy, "a b", iterations=1)
    path = traj.save(tmp_path / "r.zarr")
    filled = message.replace("PATH", str(path)).replace("FOLDER", str(tmp_path))
    with pytest.raises(error, match=f"^{re.escape(filled)}$"):
        call(wordy, traj, path)
