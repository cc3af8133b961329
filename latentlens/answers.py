"""Answers of one or several tokens, read by teacher forcing.

In: a model, prompts, answers as texts or token ids. Out: for every token of every answer, log2 of its probability after
each iteration, and whether it leads. Knows nothing about averages or truths.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from latentlens.errors import ReadoutError, TokenError
from latentlens.lenses import Lens
from latentlens.models.base import LatentModel, checked_iterations, checked_tokens
from latentlens.progress import Progress, progress_bar
from latentlens.readouts import logits
from latentlens.recording import capture

Prompt = str | Sequence[int]
Answer = str | Sequence[int]
BUDGET = 256 * 2**20
"""Bytes of logits that a batch may hold."""


@dataclass(frozen=True)
class Ask:
    """An answer behind its prompt, as token ids."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    @property
    def row(self) -> tuple[int, ...]:
        """What the model reads: all but the answer's last token, which is only predicted."""
        return self.prompt + self.answer[:-1]


@dataclass(frozen=True)
class Heard:
    """What the model says of an answer's tokens, each after those before it."""

    log2_prob: Float[Tensor, "iteration token"]
    leads: Bool[Tensor, "iteration token"]


def make_ask(model: LatentModel, prompt: Prompt, answer: Answer) -> Ask:
    """Token ids of a prompt and of the answer behind it; refuses an answer that does not begin at a token.

    >>> import latentlens as ll
    >>> make_ask(ll.load("walks"), "1 steps from Ann", "Bob").answer
    (21,)
    """
    if not isinstance(answer, str):
        return Ask(_prompt_ids(model, prompt), _ids(answer, "an answer", model))
    if not isinstance(prompt, str):
        raise TokenError(f"expected ids for an answer to a prompt of ids, got {answer!r}: pass both as texts or as ids")
    start = _prompt_ids(model, prompt)
    tokenizer = model.tokenizer
    assert tokenizer is not None  # _prompt_ids refuses a text without one
    gap = " " if tokenizer.by_word else ""  # where words are tokens, a space is what parts them
    whole = tuple(tokenizer.encode(prompt + gap + answer))
    if len(whole) <= len(start) or whole[: len(start)] != start:
        raise TokenError(
            f"expected an answer that begins at a token of its own, got {answer!r}, which joins the prompt's end "
            f"{prompt[-12:]!r}: put the space at the answer's start, not at the prompt's end, or pass token ids"
        )
    return Ask(start, whole[len(start) :])


def read(
    model: LatentModel,
    asks: Sequence[Ask],
    iterations: int | None,
    lens: Lens,
    seed: int,
    batch_size: int,
    progress: Progress,
    what: str,
) -> list[Heard]:
    """What the model says of every answer; asks that begin alike share a run."""
    _check_causal(model)
    of_row: dict[tuple[int, ...], list[int]] = {}
    for number, ask in enumerate(asks):
        of_row.setdefault(ask.row, []).append(number)
    width = max(len(ask.answer) for ask in asks)
    states = checked_iterations(iterations, model) + 1
    fit = min(batch_size, max(BUDGET // (12 * states * width * model.vocab_size), 1))
    rows = sorted(of_row, key=len)
    found: dict[int, Heard] = {}
    with progress_bar(progress, len(rows), what, "prompt") as tick:
        for start in range(0, len(rows), fit):
            batch = rows[start : start + fit]
            said = _run(model, batch, width, iterations, lens, seed)
            for row, logits_of in zip(batch, said):
                found.update(_heard(logits_of, [(i, asks[i].answer) for i in of_row[row]]))
            tick(len(batch))
    return [found[number] for number in range(len(asks))]


def _run(
    model: LatentModel,
    rows: list[tuple[int, ...]],
    width: int,
    iterations: int | None,
    lens: Lens,
    seed: int,
) -> Float[Tensor, "row iteration position vocab"]:
    """Logits at the last positions of each row, as many as the longest answer has tokens (fewer in a short batch)."""
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])
    mask = torch.tensor([[i < len(row) for i in range(longest)] for row in rows])
    traj = capture(model, tokens=ids, mask=mask, iterations=iterations, seed=seed, batch_size=len(rows), progress=False)
    return logits(traj, lens, positions=range(-min(width, longest), 0))


def _heard(said: Tensor, answers: list[tuple[int, tuple[int, ...]]]) -> Iterator[tuple[int, Heard]]:
    """Each answer's tokens in the logits of their row, `[iteration, position, vocab]`."""
    said = said.float()
    normaliser, leader = said.logsumexp(-1), said.argmax(-1)
    for number, answer in answers:
        ids = torch.tensor(answer)
        places = torch.arange(-len(answer), 0)
        chosen = said[:, places, ids] - normaliser[:, places]
        yield number, Heard(chosen / math.log(2), leader[:, places] == ids)


def _prompt_ids(model: LatentModel, prompt: Prompt) -> tuple[int, ...]:
    if not isinstance(prompt, str):
        return _ids(prompt, "a prompt", model)
    if model.tokenizer is None:
        raise TokenError(f"expected a prompt of ids for {model.name!r}, which has no tokenizer, got {prompt!r}")
    return tuple(model.tokenizer.encode(prompt))


def _ids(given: object, what: str, model: LatentModel) -> tuple[int, ...]:
    ids = [] if not hasattr(given, "__iter__") or isinstance(given, dict) else list(given)
    if not ids:
        raise TokenError(f"expected {what} as a text or a list of token ids, got {given!r}: pass [5] for the id 5")
    return tuple(checked_tokens([ids], model)[0].tolist())


def _check_causal(model: LatentModel) -> None:
    """Only where a token sees none after it is the next token's probability that of the answer."""
    if getattr(getattr(model, "spec", None), "bidirectional", False):
        raise ReadoutError(
            f"expected a model that predicts the next token, got {model.name!r} ({model.family}), which sees all "
            "tokens at once: read its masked position with ll.decode(track=...)"
        )
