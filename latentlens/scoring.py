"""Answers of any length scored by iteration, one prompt or a whole set.

In: a model, prompts, and answers or exact distributions over them. Out: xarray Datasets: log2 probabilities, bits
missed and accuracy after every iteration, with bootstrap intervals. Draws nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Bool, Float

from latentlens.answers import Answer, Ask, Heard, Prompt, make_ask, read
from latentlens.errors import ReadoutError
from latentlens.lenses import Lens, find_lens
from latentlens.models.base import LatentModel
from latentlens.progress import Progress

Target = Answer | Mapping[str, float]
"""One right answer, or how probable each is."""
Key = str | tuple[int, ...]


def score(
    model: LatentModel,
    prompt: Prompt | Sequence[Prompt],
    answers: str | Sequence[Answer],
    *,
    iterations: int | None = None,
    lens: Lens | str | None = None,
    seed: int = 0,
    batch_size: int = 64,
    progress: Progress = True,
) -> xr.Dataset:
    """log2 p(answer | prompt) after each iteration, for answers of one or several tokens.

    Teacher-forced: the answer's tokens stand behind the prompt, and each is predicted from those before it, all read
    at the same iteration (the parallel reading, as in `capture`). Their log2 probabilities add up.

    Args:
        model: what `ll.load` or `ll.wrap` returns, if it predicts the next token.
        prompt: one text or list of ids, or several.
        answers: texts, or lists of token ids; the same for every prompt. A text follows the prompt as it is: begin
            it with a space where the tokenizer wants one (not where words are the tokens).
        iterations: how often to iterate; None is the model's own number.
        lens: None or "coda" is the model's own answer; or any lens of `decode`.
        seed: what a random `s_0` is drawn from.
        batch_size: how many rows run at once, at most; fewer where their logits would be too large.
        progress: a bar after one second; False for none, or a function `f(share, what)`.

    Returns:
        A Dataset over prompt, answer, iteration (0 included) and part (the answer's tokens). `log2_prob` [bits, 0 or
        less], `token_log2_prob` by part (NaN behind a short answer), `answer_token` ids (-1 behind it).

    Raises:
        TokenError: an answer that does not begin at a token of its own, or is no text or ids.
        ReadoutError: no answers, or a model that does not predict the next token.

    >>> import latentlens as ll
    >>> prompt = "Ann : Bob . Bob : Ann . 1 steps from Ann"
    >>> out = ll.score(ll.load("walks"), prompt, ["Bob", "Ann"], iterations=8)
    >>> out.log2_prob.dims, bool(out.log2_prob.sel(answer="Bob")[0, -1] > -1)
    (('prompt', 'answer', 'iteration'), True)
    """
    prompts, wanted = _prompts(prompt), [answers] if isinstance(answers, str) else list(answers)
    if not prompts or not wanted:
        raise ReadoutError(f"expected prompts and answers, got {len(prompts)} and {len(wanted)}: pass one of each")
    chosen = find_lens(lens)
    asks = [make_ask(model, text, answer) for text in prompts for answer in wanted]
    heard = read(model, asks, iterations, chosen, seed, batch_size, progress, "score")
    labels = [_label(model, answer) for answer in wanted]
    return _scores(asks, heard, labels).assign_attrs(_about(model, chosen, seed))


def evaluate(
    model: LatentModel,
    prompts: Sequence[Prompt],
    answers: Sequence[Target],
    *,
    choices: Sequence[Answer] | Sequence[Sequence[Answer]] | None = None,
    iterations: int | None = None,
    lens: Lens | str | None = None,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
    batch_size: int = 64,
    progress: Progress = True,
) -> xr.Dataset:
    """How often the answer is right, and how many bits it misses, after each iteration, over a set of prompts.

    An answer is right where each of its tokens is the likeliest next one (for one token: top-1); with `choices`,
    where it is the likeliest of them. Bits are -log2 p(answer | prompt) for one answer, and KL(truth || p_r) where the
    answers are a distribution; right is then any of its likeliest. Intervals by a bootstrap over prompts (Efron 1979,
    percentiles).

    Args:
        prompts: texts, or lists of token ids.
        answers: one a prompt: a text, a list of ids, or `{text: probability}` (what `walks.truth` returns).
        choices: answers to choose from: one list for all prompts, or a list for each.
        level: the share of resampled means within an interval.
        resamples: how often the prompts are drawn anew; also from `seed`.
        model, iterations, lens, seed, batch_size, progress: as in `score`.

    Returns:
        A Dataset over iteration (0 included): `accuracy` from 0 to 1 and `bits`, means over prompts, each with `_low`
        and `_high`; and by prompt `right` and `prompt_bits`.

    Raises:
        ReadoutError: counts that do not match, shares that do not add up to 1, an answer that is not among the choices.
        TokenError: as in `score`.

    >>> import latentlens as ll
    >>> from latentlens.models import walks
    >>> prompts = walks.sample(20, steps=1, seed=5)
    >>> out = ll.evaluate(ll.load("walks"), prompts, [walks.truth(p) for p in prompts], iterations=8)
    >>> bool(out.bits[-1] < out.bits[0]), out.accuracy.dims
    (True, ('iteration',))
    """
    prompts, truths, options = _checked_set(prompts, answers, choices, level, resamples)
    chosen = find_lens(lens)
    keys = [list(dict.fromkeys([*truth, *option])) for truth, option in zip(truths, options)]
    asks: list[Ask] = [make_ask(model, prompt, key) for prompt, row in zip(prompts, keys) for key in row]
    heard = iter(read(model, asks, iterations, chosen, seed, batch_size, progress, "evaluate"))
    said = [{key: next(heard) for key in row} for row in keys]
    bits = np.stack([_missed(truth, row) for truth, row in zip(truths, said)])
    right = np.stack([_right(truth, option, row) for truth, option, row in zip(truths, options, said)])
    what = "KL(truth || p_r)" if any(len(truth) > 1 for truth in truths) else "-log2 p(answer | prompt)"
    return _summary(right, bits, what, level, resamples, seed).assign_attrs(_about(model, chosen, seed))


def _scores(asks: list[Ask], heard: list[Heard], labels: list[str]) -> xr.Dataset:
    """Every answer's tokens side by side, and their sum."""
    count, width = len(labels), max(len(ask.answer) for ask in asks)
    parts = torch.stack([_padded(h.log2_prob, width) for h in heard]).unflatten(0, (-1, count))
    whole = torch.stack([h.log2_prob.sum(-1) for h in heard]).unflatten(0, (-1, count))
    tokens = np.array([[*ask.answer, *[-1] * (width - len(ask.answer))] for ask in asks])
    bits = {"units": "bits"}
    dims, tokens = ("prompt", "answer", "iteration"), tokens.reshape(-1, count, width)
    return xr.Dataset(
        {
            "log2_prob": (dims, whole.numpy(), {"long_name": "log2 p(answer | prompt)", **bits}),
            "token_log2_prob": (
                (*dims, "part"),
                parts.numpy(),
                {"long_name": "log2 p(token | what is before)", **bits},
            ),
            "answer_token": (("prompt", "answer", "part"), tokens, {"long_name": "answers", "units": "token id"}),
        },
        coords={"answer": np.array(labels, object), "iteration": np.arange(whole.shape[2])},
    )


def _summary(right: np.ndarray, bits: np.ndarray, what: str, level: float, resamples: int, seed: int) -> xr.Dataset:
    """Means over prompts with their intervals, and the prompts' own values."""
    out = xr.Dataset(coords={"iteration": np.arange(bits.shape[1])})
    for name, values, title, units in (("accuracy", right, "accuracy", "1"), ("bits", bits, what, "bits")):
        low, high = _interval(values, level, resamples, seed)
        about = {"long_name": title, "units": units, "interval": level}
        for suffix, value in (("", values.mean(0)), ("_low", low), ("_high", high)):
            out[name + suffix] = ("iteration", value, about)
    out["right"] = (("prompt", "iteration"), right, {"long_name": "whether the answer is right", "units": "bool"})
    out["prompt_bits"] = (("prompt", "iteration"), bits, {"long_name": what, "units": "bits"})
    return out


def _missed(truth: dict[Key, float], said: dict[Key, Heard]) -> Float[np.ndarray, " iteration"]:
    """KL(truth || model) in bits; rounding never makes it negative."""
    terms = [p * (math.log2(p) - said[key].log2_prob.double().sum(-1).numpy()) for key, p in truth.items()]
    return np.maximum(np.sum(terms, axis=0), 0.0)


def _right(truth: dict[Key, float], options: list[Key], said: dict[Key, Heard]) -> Bool[np.ndarray, " iteration"]:
    """Whether one of the likeliest answers leads: over the vocabulary, or among the options."""
    most = max(truth.values())
    modes = [key for key, p in truth.items() if p > most - 1e-9]
    if not options:
        return np.any([said[key].leads.all(-1).numpy() for key in modes], axis=0)
    best = np.argmax([said[key].log2_prob.double().sum(-1).numpy() for key in options], axis=0)
    return np.isin(best, [options.index(key) for key in modes if key in options])


def _interval(values: np.ndarray, level: float, resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The bootstrap interval of the mean over prompts, for each iteration."""
    count = len(values)
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    means = draws @ values.astype(float) / count
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def _checked_set(
    prompts: Any, answers: Any, choices: Any, level: float, resamples: int
) -> tuple[list[Prompt], list[dict[Key, float]], list[list[Key]]]:
    """Prompts, a distribution over answers for each, and what it may choose from (nothing: the whole vocabulary)."""
    if isinstance(prompts, str) or isinstance(answers, str | Mapping):
        raise ReadoutError("expected a list of prompts and one of answers, got one alone: pass [prompt] and [answer]")
    prompts, answers = list(prompts), list(answers)
    if not prompts or len(prompts) != len(answers):
        raise ReadoutError(f"expected an answer for each prompt, got {len(prompts)} prompts and {len(answers)} answers")
    if not 0 < level < 1 or resamples < 1:
        raise ReadoutError(f"expected level between 0 and 1 and resamples of 1 or more, got {level!r}, {resamples!r}")
    truths = [_truth(answer) for answer in answers]
    options = _options(choices, len(prompts))
    for number, (truth, option) in enumerate(zip(truths, options)):
        if option and not set(truth) <= set(option):
            missing = next(key for key in truth if key not in option)
            raise ReadoutError(f"expected the answer to prompt {number} among its choices, got {missing!r}: add it")
    return prompts, truths, options


def _truth(answer: Target) -> dict[Key, float]:
    if not isinstance(answer, Mapping):
        return {_key(answer): 1.0}
    shares = {_key(key): float(p) for key, p in answer.items() if p != 0}
    total = sum(shares.values())
    if not shares or min(shares.values()) < 0 or abs(total - 1) > 1e-6:
        raise ReadoutError(f"expected probabilities of answers that add up to 1, got {total:.6g}: normalise them")
    return shares


def _options(choices: Any, count: int) -> list[list[Key]]:
    if choices is None:
        return [[] for _ in range(count)]
    if isinstance(choices, str) or not len(choices):
        raise ReadoutError(f"expected several choices, got {choices!r}: leave choices out for the whole vocabulary")
    rows = list(choices)
    shared = all(isinstance(row, str) or isinstance(row[0], int) for row in rows)
    if not shared and len(rows) != count:
        raise ReadoutError(f"expected one list of choices, or one for each of {count} prompts, got {len(rows)}")
    return [[_key(choice) for choice in row] for row in ([rows] * count if shared else rows)]


def _key(answer: Any) -> Key:
    """What an answer is known by; what is no text or ids is refused where it is made into tokens."""
    return answer if isinstance(answer, str) or not hasattr(answer, "__iter__") else tuple(int(i) for i in answer)


def _prompts(prompt: Any) -> list[Prompt]:
    """One prompt or several; a list of whole numbers is one prompt."""
    if isinstance(prompt, str):
        return [prompt]
    rows = list(prompt)
    return [rows] if rows and all(isinstance(item, int | np.integer) for item in rows) else rows


def _padded(values: torch.Tensor, width: int) -> torch.Tensor:
    return torch.nn.functional.pad(values, (0, width - values.shape[-1]), value=torch.nan)


def _label(model: LatentModel, answer: Answer) -> str:
    if isinstance(answer, str):
        return answer
    ids = [int(i) for i in answer]
    return model.tokenizer.decode(ids) if model.tokenizer else " ".join(f"<{i}>" for i in ids)


def _about(model: LatentModel, lens: Lens, seed: int) -> dict[str, Any]:
    return {"lens": lens.name, "model": model.name, "seed": seed, "random_start": int(model.random_start)}
