"""How much of the truth a `walks` model misses, in bits, by steps asked and by iteration.

In: a model, and prompts of the task. Out: numbers, and the table of the README.
Knows nothing about training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from latentlens.models.base import At, LatentModel
from latentlens.models.walks import task

ID = {word: i for i, word in enumerate(task.VOCABULARY)}
ITERATIONS = (1, 2, 4, 8, 16, 24)
STEPS = range(7)


def held_out(n: int, steps: int, seed: int = 12345) -> list[str]:
    """Prompts of the evaluation: 5 nodes, one or two successors, no self-loop, one query.

    >>> len(held_out(3, steps=2))
    3
    """
    return task.sample(n, steps, seed, nodes=5, successors=(1, 2), self_loops=False)


def missing_bits(
    model: LatentModel,
    prompts: Sequence[str],
    iterations: Sequence[int] = ITERATIONS,
    seed: int = 0,
    on_the_way: bool = False,
) -> Float[np.ndarray, "iteration prompt"]:
    """KL(truth || model) of each prompt after each of these iterations, over the whole vocabulary [bits].

    The truth is the answer; `on_the_way`, where the walk is after as many steps as there were iterations.
    """
    ids, last = _encode(prompts)
    truths = {i: _truths(prompts, i if on_the_way else None, model.vocab_size) for i in iterations}
    found: dict[int, Tensor] = {}
    context = model.begin(ids, seed=seed)

    def keep(state: Tensor, at: At) -> None:
        if at.layer is None and at.iteration in iterations:
            logits = model.finish(state, context)[torch.arange(len(ids)), last].float()
            found[at.iteration] = _bits(truths[at.iteration], logits.log_softmax(-1))

    with torch.inference_mode():
        model.run(ids, iterations=max(iterations), on_state=keep, seed=seed)
    return torch.stack([found[i] for i in iterations]).numpy()


def _truths(prompts: Sequence[str], at_most: int | None, vocab_size: int) -> Float[Tensor, "prompt vocab"]:
    """The answers, as rows; after so many steps where more are asked."""
    steps = [None if at_most is None else min(at_most, task.parse(prompt).steps) for prompt in prompts]
    return torch.stack([as_row(task.truth(prompt, k), vocab_size) for prompt, k in zip(prompts, steps)])


def as_row(distribution: Mapping[str, float], vocab_size: int) -> Float[Tensor, vocab]:
    """A distribution over names as a row over the model's vocabulary.

    >>> as_row({"Ann": 1.0}, 48).argmax().item() == ID["Ann"]
    True
    """
    out = torch.zeros(vocab_size)
    for name, probability in distribution.items():
        out[ID[name]] = probability
    return out


def baseline_bits(prompts: Sequence[str]) -> tuple[float, float]:
    """What two answers miss without a model [bits, mean]: the start-blind mean, and the truth of one step less.

    The second can be infinite (it gives no probability to a true answer), so a thousandth of the start-blind mean
    is mixed in.
    """
    blind, short = [], []
    for prompt in prompts:
        truth, mean = task.truth(prompt), task.start_blind(prompt)
        less = task.one_step_short(prompt)
        blind.append(_gap(truth, mean))
        short.append(_gap(truth, {n: 0.999 * less.get(n, 0.0) + 0.001 * p for n, p in mean.items()}))
    return float(np.mean(blind)), float(np.mean(short))


def _gap(truth: Mapping[str, float], other: Mapping[str, float]) -> float:
    return sum(p * float(np.log2(p / other[name])) for name, p in truth.items())


def _bits(truth: Tensor, logs: Tensor) -> Tensor:
    return (torch.xlogy(truth, truth) - truth * logs).sum(-1) / np.log(2)


def _encode(prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Ids, padded on the right, and the position of each prompt's last token."""
    rows = [[ID[word] for word in prompt.split()] for prompt in prompts]
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    return ids, torch.tensor([len(row) - 1 for row in rows])


def walk_mass(model: LatentModel, prompts: Sequence[str], iterations: int = 24) -> Float[np.ndarray, " prompt"]:
    """The probability that the next token is a place the walk can go to: after the last stop of each prompt."""
    ids, last = _encode(prompts)
    allowed = _truths(prompts, None, model.vocab_size) > 0
    with torch.inference_mode():
        logits = model.run(ids, iterations=iterations)[torch.arange(len(ids)), last].float()
    return (logits.softmax(-1) * allowed).sum(-1).numpy()
