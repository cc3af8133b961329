"""Readouts against closed forms, against the logits themselves, and against the model's own answer."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import Halving, Scripted

import latentlens as ll
from latentlens.errors import LensError, ReadoutError, TokenError


def scripted(rows, **options):
    """The readout of a model whose logits after iteration r are `rows[r]`."""
    table = torch.tensor(rows, dtype=torch.float32)
    model = Scripted(table, **{k: v for k, v in options.items() if k == "random_start"})
    rest = {k: v for k, v in options.items() if k != "random_start"}
    return ll.decode(ll.capture(model, tokens=[[0, 1]], iterations=len(rows) - 1), **rest)


def test_entropy_of_a_uniform_prediction_is_log2_of_the_vocabulary():
    out = scripted(np.zeros((3, 32)))
    assert np.allclose(out.entropy, 5.0, atol=1e-6)
    assert np.allclose(out.kl_to_final, 0)


def test_a_halving_logit_has_its_closed_form_at_every_iteration():
    out = ll.decode(ll.capture(Halving(vocab=4, iterations=6), tokens=[[2, 0]]), track=[0, 2])
    x = 8 / 2.0 ** np.arange(7)
    p = np.exp(x) / (np.exp(x) + 3)
    entropy = -p * np.log2(p) - (1 - p) * np.log2((1 - p) / 3)
    final = p[-1]
    kl = p * np.log2(p / final) + (1 - p) * np.log2((1 - p) / (1 - final))
    missing = final * np.log2(final / p) + (1 - final) * np.log2((1 - final) / (1 - p))
    step = [math.nan] + [
        p[r - 1] * math.log2(p[r - 1] / p[r]) + (1 - p[r - 1]) * math.log2((1 - p[r - 1]) / (1 - p[r]))
        for r in range(1, 7)
    ]
    assert np.allclose(out.prob[0, :, 0, 1], p, atol=1e-6)
    assert np.allclose(out.entropy[0, :, 0], entropy, atol=1e-5)
    assert np.allclose(out.kl_to_final[0, :, 0], kl, atol=1e-5)
    assert np.allclose(out.missing_bits[0, :, 0], missing, atol=1e-5)
    assert np.allclose(out.kl_step[0, :, 0], step, atol=1e-5, equal_nan=True)
    assert (out["rank"][0, :, 0, 1] == 0).all()
    assert (out["rank"][0, :, 0, 0] == 1).all()
    assert (out.top_token[0, :, :, 0] == [2, 0]).all()


def test_rank_counts_strictly_greater_logits_so_that_ties_share_it():
    out = scripted([[3, 3, 1, 0, 0]] * 2, track=[0, 1, 2, 3, 4])
    assert out["rank"][0, 0, 0].values.tolist() == [0, 0, 2, 3, 3]


def test_candidates_are_all_leaders_by_their_peak_not_the_last_top_k():
    rows = [[0, 9, 0, 0], [3, 0, 0, 0], [0, 0, 6, 0], [0, 0, 0, 2]]
    out = scripted(rows)
    assert out.candidate_token[0, 0].values.tolist() == [1, 2, 0, 3]
    peaks = out.prob[0, :, 0].max("iteration").values
    assert (np.diff(peaks) < 0).all()
    assert scripted(rows, top_k=1).candidate_token[0, 0].values.tolist() == [1, 2, 0, 3]
    assert scripted(rows, max_candidates=2).candidate_token[0, 0].values.tolist() == [1, 2]


def test_a_random_start_elects_no_candidate_and_no_commitment():
    rows = [[0, 9, 0, 0], [3, 0, 0, 0], [3, 0, 0, 0]]
    out = scripted(rows, random_start=True)
    assert out.candidate_token[0, 0].values.tolist() == [0]
    assert out.commitment[0, 0] == 1
    same = scripted([[3, 0], [3, 0], [3, 0]], random_start=True)
    assert same.commitment[0, 0] == 1
    assert scripted([[3, 0], [3, 0], [3, 0]]).commitment[0, 0] == 0


@pytest.mark.parametrize(
    ("leaders", "commitment", "settled"),
    [
        ([0, 0, 0, 0, 0], 0, True),
        ([1, 0, 0, 0, 0], 1, True),
        ([0, 1, 0, 0, 0], 2, False),
        ([0, 0, 0, 0, 1], 4, False),
        ([0, 0], 0, False),
    ],
)
def test_commitment_is_the_iteration_after_the_last_change(leaders, commitment, settled):
    out = scripted([[5, 0] if leader == 0 else [0, 5] for leader in leaders])
    assert out.commitment[0, 0] == commitment
    assert bool(out.settled[0, 0]) is settled


def test_tokens_named_also_are_kept_beside_the_leaders():
    rows = [[0, 9, 0, 0], [3, 0, 0, 0], [0, 0, 6, 0]]
    assert scripted(rows, also=[3]).candidate_token[0, 0].values.tolist() == [1, 2, 0, 3]
    assert scripted(rows, also=[3, 2], max_candidates=1).candidate_token[0, 0].values.tolist() == [1, 2, 3]


def test_a_group_has_the_sum_of_its_probabilities_and_its_best_rank():
    out = scripted([[2, 1, 0, 0]] * 2, track={"both": [1, 2], "first": 0})
    whole = np.exp([2, 1, 0, 0])
    assert np.allclose(out.prob[0, 0, 0], [whole[1:3].sum() / whole.sum(), whole[0] / whole.sum()])
    assert out["rank"][0, 0, 0].values.tolist() == [1, 0]
    assert out.candidate_label[0, 0].values.tolist() == ["both", "first"]


def test_next_follows_the_token_that_really_comes(wordy):
    traj = ll.capture(wordy, ["the cat sat", "a b"], iterations=3)
    out = ll.decode(traj, track="next")
    assert out.candidate_token[:, :, 0].values.tolist() == [[6, 7, -1], [3, -1, -1]]
    surprisal = -torch.log_softmax(ll.logits(traj).float(), -1)[0, :, 0, 6]
    assert np.allclose(-np.log(out.prob[0, :, 0, 0]), surprisal, atol=1e-4)
    assert np.isnan(out.prob[0, :, 2]).all()
    assert (out["rank"][1, :, 1] == -1).all()


@pytest.mark.parametrize("lens", ["coda", "logit"])
@pytest.mark.parametrize("budget", [1, 2**20, 2**29])
def test_every_number_is_that_of_the_logits_whatever_the_budget(wordy, lens, budget):
    traj = ll.capture(wordy, ["the cat sat on the mat", "a b", "c"], iterations=5)
    out = ll.decode(traj, lens, budget=budget, top_k=3)
    logp = ll.logits(traj, lens).float().log_softmax(-1)
    p = logp.exp()
    real = traj.mask[:, None].expand(3, 6, 6)
    assert np.allclose(out.entropy.values[real], (-p * logp).sum(-1)[real] / math.log(2), atol=1e-5)
    final = logp[:, -1:]
    assert np.allclose(
        out.missing_bits.values[real], ((final.exp() * (final - logp)).sum(-1) / math.log(2))[real], atol=1e-5
    )
    assert (torch.from_numpy(out.top_token.values)[real] == logp.topk(3).indices[real]).all()
    assert np.isnan(out.entropy.values[~real]).all()
    assert (out.top_token.values[~real] == -1).all()
    assert (out.candidate_token.values[~traj.mask] == -1).all()


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("bfloat16", 1e-6), ("float16", 1e-6)])
def test_the_last_state_decodes_to_the_models_own_answer(folder, dtype, tolerance):
    model = ll.load(str(folder), dtype=dtype)
    out = ll.decode(ll.capture(model, "the cat sat", iterations=4), track=[5, 6])
    own = model.run(torch.tensor([model.tokenizer.encode("the cat sat")]), iterations=4).float().softmax(-1)
    assert np.allclose(out.prob[0, -1], own[0][:, [5, 6]], atol=tolerance)


def test_the_authors_readouts_are_those_of_the_two_lenses(raven, reference):
    traj = ll.capture(raven, tokens=reference["ids"], iterations=16, initial_state=reference["states"][0])
    coda, lnf = ll.logits(traj), ll.logits(traj, "logit")
    assert (coda.transpose(0, 1) - reference["coda_logits"]).abs().max() < 1e-4
    assert (lnf.transpose(0, 1) - reference["lnf_logits"]).abs().max() < 1e-4


def test_logits_can_be_asked_for_some_iterations_and_positions(wordy):
    traj = ll.capture(wordy, ["the cat sat", "a"], iterations=4)
    everything = ll.logits(traj)
    some = ll.logits(traj, iterations=[0, -1], positions=[-1, 1])
    assert torch.equal(some[0], everything[0][[0, 4]][:, [2, 1]])
    assert torch.equal(some[1, :, 0], everything[1][[0, 4], 0])
    assert some[1, :, 1].isnan().all()
    assert everything[1, :, 1:].isnan().all()


def test_decode_holds_one_iteration_at_a_time_where_the_budget_is_small(wordy):
    alive = 0

    class Counting(ll.LogitLens):
        def logits(self, model, state, context, iteration):
            nonlocal alive
            alive = max(alive, len(state))
            return super().logits(model, state, context, iteration)

    traj = ll.capture(wordy, ["the cat sat"] * 9, iterations=3)
    small = ll.decode(traj, Counting(), budget=1)
    assert alive == 1
    xr.testing.assert_allclose(small, ll.decode(traj, "logit"), atol=1e-5)  # products of other sizes round otherwise


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.floats(-20, 20, width=32), min_size=5, max_size=5), min_size=2, max_size=6))
def test_divergences_are_never_negative_and_probabilities_are_a_distribution(rows):
    out = scripted(rows, top_k=5)
    for name in ("entropy", "kl_to_final", "missing_bits"):
        assert (out[name] >= 0).all()
    assert np.allclose(out.top_prob.sum("k"), 1, atol=1e-5)
    assert (out.entropy <= math.log2(5) + 1e-5).all()
    assert (out.kl_to_final[:, -1] == 0).all()


def test_two_ids_with_the_same_text_stay_two(folder):
    model = ll.load(str(folder))
    model.tokenizer.text = lambda i: "same"
    out = ll.decode(ll.capture(model, "a b", iterations=2), track=[3, 4])
    assert out.candidate_label[0, 0].values.tolist() == ["same", "same (4)"]
    assert out.candidate_token[0, 0].values.tolist() == [3, 4]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"lens": "codda"}, LensError, "expected a lens (coda, logit), got 'codda': did you mean coda?"),
        ({"lens": 3}, LensError, "expected a lens, its name or None, got int: try coda, logit"),
        ({"top_k": 0}, ReadoutError, "expected top_k to be a whole number of 1 or more, got 0"),
        ({"track": []}, ReadoutError, "expected at least one token to track, got []: leave track out for the leaders"),
        ({"track": [300]}, ReadoutError, "expected token ids from 0 to 255 to track, got 300"),
        ({"track": "the cat"}, TokenError, "expected one token, got 'the cat', which is 2 ('the', 'cat'): name one of them"),
        ({"track": {"x": ["a"], "y": ["b", "a"]}}, ReadoutError, "expected candidates that do not overlap, got token 2 in 'x' and 'y'"),
        ({"track": ["a"], "also": ["b"]}, ReadoutError, "expected also= only where track is None, got both: put everything into track"),
        ({"also": "next"}, ReadoutError, "expected single tokens in also=, got 'next': use track= for groups and 'next'"),
    ],
)  # fmt: skip
def test_bad_options_are_refused_in_one_line(wordy, options, error, message):
    traj = ll.capture(wordy, "a b", iterations=1)
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        ll.decode(traj, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"positions": [2]}, "expected a position from -2 to 1, got 2"),
        ({"positions": [-3]}, "expected a position from -2 to 1, got -3"),
        ({"iterations": [2]}, "expected an iteration from 0 to 1, got 2: capture with more iterations"),
    ],
)
def test_logits_refuses_what_is_not_there(wordy, options, message):
    with pytest.raises(ReadoutError, match=f"^{re.escape(message)}$"):
        ll.logits(ll.capture(wordy, "a b", iterations=1), **options)


def test_an_already_normed_state_is_not_normed_again_but_its_start_is():
    model = Scripted(torch.zeros(4, 3), normed_state=True)
    traj = ll.capture(model, tokens=[[0]], initial_state=torch.ones(1, 1, 1))
    assert ll.logits(traj, "logit")[0, :, 0, 0].tolist() == [0.5, 2.0, 3.0, 4.0]
    raw = ll.capture(Scripted(torch.zeros(4, 3)), tokens=[[0]], initial_state=torch.ones(1, 1, 1))
    assert ll.logits(raw, "logit")[0, :, 0, 0].tolist() == [0.5, 1.0, 1.5, 2.0]


def test_every_variable_has_a_long_name_and_a_unit(wordy):
    out = ll.decode(ll.capture(wordy, "a b", iterations=1), statistics="all")
    unnamed = [n for n, v in out.data_vars.items() if not {"long_name", "units"} <= set(v.attrs)]
    assert unnamed == []


def test_the_known_truth_is_measured_in_bits_at_the_last_position(folder):
    model = ll.load(str(folder))
    model.truth = lambda prompt: {"cat": 0.75, "mat": 0.25}
    traj = ll.capture(model, ["the cat sat", "a"], iterations=3)
    out = ll.decode(traj, also="truth")
    logp = ll.logits(traj, positions=[-1]).float().log_softmax(-1)[:, :, 0] / math.log(2)
    expected = 0.75 * (math.log2(0.75) - logp[..., 6]) + 0.25 * (math.log2(0.25) - logp[..., 9])
    assert np.allclose(out.truth_bits[0, :, 2], expected[0], atol=1e-4)
    assert np.allclose(out.truth_bits[1, :, 0], expected[1], atol=1e-4)
    assert np.isnan(out.truth_bits[0, :, :2]).all()
    last = out.isel(prompt=0, position=2)
    exact = dict(zip(last.candidate_token.values.tolist(), last.truth.values.tolist()))
    assert exact[6] == 0.75
    assert exact[9] == 0.25
    assert sum(v for k, v in exact.items() if k >= 0) == 1


class Silent(ll.CodaLens):
    """Says nothing of every second position before iteration 3."""

    name = "silent"

    def logits(self, model, state, context, iteration):
        out = super().logits(model, state, context, iteration).clone()
        out[:, :: 2 if iteration < 3 else out.shape[1] + 1] = torch.nan
        return out

    def in_rows(self, model):
        return False


@pytest.mark.parametrize("budget", [2**29, 20_000])
def test_where_a_lens_says_nothing_there_are_no_tokens_ranks_or_counts(budget):
    traj = ll.capture(ll.load("walks"), "Ann : Bob . Bob : Ann . 1 steps from Ann", iterations=6)
    out, full = (ll.decode(traj, lens, statistics="all", budget=budget) for lens in (Silent(), None))
    quiet, heard = out.isel(prompt=0, position=slice(2, None, 2)), out.isel(prompt=0, position=slice(1, None, 2))
    before = quiet.isel(iteration=slice(3))
    assert (before.top_token == -1).all()
    assert (before["rank"] == -1).all()
    for name in ("top_prob", "prob", "entropy", "agreement", "nucleus_size", "margin"):
        assert before[name].isnull().all(), name
    xr.testing.assert_equal(heard.top_token, full.top_token.isel(prompt=0, position=slice(1, None, 2)))
    assert (quiet.top_token[3:] >= 0).all()
