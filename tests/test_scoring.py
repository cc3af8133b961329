"""Answers of several tokens are scored as the model itself would, and sets of them by closed forms."""

from __future__ import annotations

import math
import re

import families
import numpy as np
import pytest
import torch
import toys

import latentlens as ll
from latentlens.errors import ReadoutError, TokenError
from latentlens.models import walks

PROMPT = "Ann : Bob Cal . Bob : Dee Ann . Cal : Dee Eve . Dee : Ann Bob . Eve : Cal Dee . 2 steps from Ann"


@pytest.fixture(scope="module")
def model() -> ll.LatentModel:
    return ll.load("walks")


def by_hand(model, prompt, answer, iterations):
    """log2 p of ids behind ids, from the model's own run of that many iterations, in float64."""
    logits = model.run(torch.tensor([prompt + answer]), iterations=iterations)[0].double().log_softmax(-1)
    places = range(len(prompt) - 1, len(prompt) + len(answer) - 1)
    return sum(float(logits[at, token]) for at, token in zip(places, answer)) / math.log(2)


@pytest.mark.parametrize("iterations", [1, 3, 6])
@pytest.mark.parametrize("answer", [[7], [3, 9, 4]])
def test_a_score_is_the_models_own_log_softmax_summed_over_the_answer(raven, iterations, answer):
    prompt = [5, 80, 200, 17]
    out = ll.score(raven, prompt, [answer, [1, 2]], iterations=6)
    with torch.no_grad():
        exact = by_hand(raven, prompt, answer, iterations)
    assert float(out.log2_prob[0, 0, iterations]) == pytest.approx(exact, abs=1e-4)


def test_an_answer_of_one_token_has_the_probability_that_decode_gives(model):
    out = ll.score(model, PROMPT, ["Dee", "Ann"], iterations=6)
    read = ll.decode(ll.capture(model, PROMPT, iterations=6), track=["Dee", "Ann"])
    assert np.abs(2 ** out.log2_prob[0].values - read.prob[0, :, -1].values.T).max() < 1e-6


def test_the_parts_add_up_and_are_blank_behind_a_short_answer(model):
    out = ll.score(model, PROMPT, ["Dee . Bob", "Ann"], iterations=4)
    assert out.token_log2_prob.sum("part").values == pytest.approx(out.log2_prob.values, abs=1e-4)
    assert np.isnan(out.token_log2_prob.sel(answer="Ann").values[..., 1:]).all()
    assert out.answer_token.sel(answer="Ann")[0].values.tolist() == [model.tokenizer.token_id("Ann"), -1, -1]


def test_the_probabilities_of_all_answers_of_two_tokens_add_up_to_one():
    model = toys.Scripted(torch.randn(4, 5, generator=torch.Generator().manual_seed(0)))
    pairs = [[a, b] for a in range(5) for b in range(5)]
    out = ll.score(model, [0, 1], pairs, iterations=3)
    assert (2**out.log2_prob).sum("answer").values == pytest.approx(1, abs=1e-5)


def test_a_prompt_scores_the_same_alone_and_beside_longer_ones(model):
    both = ll.score(model, [PROMPT, "Ann : Bob . Bob : Ann . 1 steps from Bob"], ["Ann", "Dee Bob"], iterations=4)
    alone = ll.score(model, "Ann : Bob . Bob : Ann . 1 steps from Bob", ["Ann", "Dee Bob"], iterations=4)
    assert np.abs(both.log2_prob[1].values - alone.log2_prob[0].values).max() < 1e-3


def test_a_lens_other_than_the_models_own_is_read(model):
    out = ll.score(model, PROMPT, ["Dee"], iterations=4, lens="logit")
    read = ll.decode(ll.capture(model, PROMPT, iterations=4), "logit", track="Dee")
    assert out.attrs["lens"] == "logit"
    assert np.abs(2 ** out.log2_prob[0, 0].values - read.prob[0, :, -1, 0].values).max() < 1e-6


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_the_size_of_a_batch_changes_nothing(model, batch_size):
    prompts = walks.sample(5, steps=1, seed=3)
    bits = [ll.evaluate(model, prompts, ["Ann"] * 5, iterations=3, batch_size=n).prompt_bits for n in (batch_size, 2)]
    assert np.abs(bits[0] - bits[1]).max() < 1e-3


def set_of(table, answers, **options):
    return ll.evaluate(toys.Scripted(torch.tensor(table)), [[0]] * len(answers), answers, iterations=1, **options)


def test_a_uniform_prediction_misses_the_logarithm_of_the_vocabulary():
    out = set_of([[0.0] * 8, [0.0] * 8], [[3], [5]])
    assert out.bits.values == pytest.approx(3)
    assert out.bits_low.values == pytest.approx(out.bits_high.values)


def test_accuracy_is_the_share_of_answers_that_lead():
    out = set_of([[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0]], [[1], [2], [2], [2]])
    assert out.accuracy.values.tolist() == [0.25, 0.75]
    assert out.right.values.tolist() == [[True, False], [False, True], [False, True], [False, True]]


def test_an_answer_is_right_where_it_is_the_likeliest_of_the_choices():
    table = [[0.0, 1.0, 2.0, 9.0], [0.0, 3.0, 2.0, 9.0]]
    assert set_of(table, [[1], [2]], choices=[[1], [2]]).accuracy.values.tolist() == [0.5, 0.5]
    assert set_of(table, [[1], [1]], choices=[[1], [2]]).accuracy.values.tolist() == [0, 1]
    own = [[[1], [0]], [[1], [2]]]
    assert set_of(table, [[1], [1]], choices=own).accuracy.values.tolist() == [0.5, 1]
    assert set_of(table, [[1], [2]]).accuracy.values.tolist() == [0, 0]


def test_bits_against_a_distribution_are_its_divergence_from_the_models(model):
    prompts = walks.sample(6, steps=2, seed=9)
    out = ll.evaluate(model, prompts, [walks.truth(p) for p in prompts], iterations=5)
    read = ll.decode(ll.capture(model, prompts, iterations=5), track=list(walks.task.NAMES))
    exact = np.stack([read.truth_bits[i, :, len(p.split()) - 1] for i, p in enumerate(prompts)])
    assert np.abs(out.prompt_bits.values - exact).max() < 1e-3
    assert out.bits.values == pytest.approx(exact.mean(0), abs=1e-3)


def test_what_says_the_truth_misses_nothing_and_any_of_its_likeliest_is_right():
    logits = [float(np.log(p)) for p in (0.4, 0.4, 0.2)]
    model = toys.Scripted(torch.tensor([logits, logits]))
    out = ll.evaluate(model, [[0]], [dict(zip([(0,), (1,), (2,)], (0.4, 0.4, 0.2)))], iterations=1)
    assert out.bits.values == pytest.approx(0, abs=1e-6)
    assert out.accuracy.values.tolist() == [1, 1]


def test_the_interval_is_that_of_a_mean():
    answers = [[0]] * 50 + [[1]] * 50
    out = set_of([[1.0, 0.0], [1.0, 0.0]], answers, resamples=4000)
    error = 1.96 * 0.5 / np.sqrt(100)
    assert float(out.accuracy_low[1]) == pytest.approx(0.5 - error, abs=0.012)
    assert float(out.accuracy_high[1]) == pytest.approx(0.5 + error, abs=0.012)
    assert out.accuracy.attrs["interval"] == 0.95


def test_progress_is_reported_to_the_end():
    seen = []
    set_of([[0.0] * 4] * 2, [[1]] * 3, progress=lambda share, what: seen.append((share, what)))
    assert seen[-1] == (1.0, "evaluate")


def refusal(call, *args, **options):
    with pytest.raises(ll.LatentLensError) as caught:
        call(*args, **options)
    return str(caught.value)


def test_what_does_not_fit_is_refused_in_one_line(model):
    say = "got 5: pass [5] for the id 5"
    assert refusal(ll.score, model, PROMPT, [5]) == f"expected an answer as a text or a list of token ids, {say}"
    assert "got 'Bob': pass both as texts or as ids" in refusal(ll.score, model, [5, 6], ["Bob"])
    assert "add up to 1, got 0.7" in refusal(ll.evaluate, model, [PROMPT], [{"Ann": 0.7}])
    assert "got 1 prompts and 2 answers" in refusal(ll.evaluate, model, [PROMPT], ["Ann", "Bob"])
    assert "pass [prompt] and [answer]" in refusal(ll.evaluate, model, PROMPT, "Ann")
    assert "among its choices, got 'Ann'" in refusal(ll.evaluate, model, [PROMPT], ["Ann"], choices=["Bob", "Cal"])
    assert "got 1 and 0: pass one of each" in refusal(ll.score, model, PROMPT, [])
    assert "'Zed'" in refusal(ll.score, model, PROMPT, ["Zed"])


class Glued:
    """A tokenizer that makes one token of every run of letters, and one of every space before it."""

    by_word = False

    def encode(self, text):
        words = re.findall(r" ?[^ ]+| ", text)
        return [sum(map(ord, word)) % 250 for word in words]


def test_an_answer_that_melts_into_the_prompts_last_token_is_refused(raven, monkeypatch):
    monkeypatch.setattr(raven, "tokenizer", Glued())
    with pytest.raises(
        TokenError, match=r"^expected an answer that begins at a token of its own, got 'ly', which joins"
    ):
        ll.score(raven, "I kind", ["ly"])
    assert ll.score(raven, "I kind", [" ly"], iterations=1).sizes["answer"] == 1


def test_a_model_that_sees_all_tokens_at_once_is_refused():
    with pytest.raises(ReadoutError, match="^expected a model that predicts the next token, got"):
        ll.score(ll.wrap(families.make("albert")), [1, 2], [[3]])
