"""The measured numbers of a `walks` model, as the README beside the weights.

In: a model, and how it was trained. Out: markdown. Every number in it is measured here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from latentlens.models.raven import Raven
from latentlens.models.walks import task
from latentlens.models.walks.evaluate import ITERATIONS, STEPS, baseline_bits, held_out, missing_bits, walk_mass

TEXT = """# `walks`: the model that ships with latentlens

A recurrent-depth model in Huginn's format (prelude 2, core 1, coda 1 blocks; width {width}; {parameters:,} parameters,
`model.safetensors` {size:.2f} MB, float32) that says where a random walk on a small graph ends. The prompt is the
graph in words and a query; the answer is a distribution, and the exact one is known (`walks.truth`).

It was taught to think one step an iteration: the target after iteration r is where the walk is after r steps, and the
answer from iteration k on, when k steps are asked. So the stops that a lens shows on the way are trained, not found.

Written by the training script from what it measured. Trained with

{commands}

{updates:,} updates in {minutes:.0f} minutes on a CPU. `training.jsonl` is the log: the KL in nats by kind (0 to 12
steps, then the stops of a walk) of the last batches.

## What it misses of the truth

Mean KL(truth || model) in bits over the whole vocabulary, {prompts} graphs a row that it never saw: 5 nodes, one or
two successors, no self-loop, one query. Beside it two answers without a model: *start-blind* knows the graph but not
the start (the mean of the truths over all nodes); *one step short* is the truth of k - 1 steps (with a thousandth of
start-blind mixed in, for it is infinite otherwise).

{table}

The same after the last iteration, for graphs as in training (4 to 7 nodes, one to three successors, self-loops):

{wider}

On the way: 6 steps are asked; what iteration r misses of where the walk is after r steps:

{way}

After `walk from NAME` the next token is a successor of NAME with probability {mass:.4f} in the mean, and at least
{least:.4f} ({prompts} prompts).
"""


def readme(model: Raven, size: int, updates: int, minutes: float, commands: Sequence[str], prompts: int) -> str:
    """The README's text, every number measured now; `size` in bytes."""
    mass = walk_mass(model, task.sample(prompts, None, seed=777))
    return TEXT.format(
        width=model.d_model,
        parameters=sum(p.numel() for p in model.parameters()),
        size=size / 1e6,
        commands="\n".join(f"    {command}" for command in commands),
        updates=updates,
        minutes=minutes,
        prompts=prompts,
        table=_table(model, prompts),
        wider=_wider(model, prompts),
        way=_way(model, prompts),
        mass=mass.mean(),
        least=mass.min(),
    )


def _table(model: Raven, n: int) -> str:
    heads = [f"after {i}" if i > 1 else "after 1 iteration" for i in ITERATIONS]
    rows = [["steps", *heads, "start-blind", "one step short"], ["---"] * (len(heads) + 3)]
    for steps in STEPS:
        prompts = held_out(n, steps)
        values = [*missing_bits(model, prompts).mean(axis=1), *baseline_bits(prompts)]
        rows.append([str(steps), *(f"{value:.3f}" for value in values)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _way(model: Raven, n: int) -> str:
    iterations = range(1, 9)
    values = missing_bits(model, held_out(n, 6), iterations, on_the_way=True).mean(axis=1)
    rows = [["iteration", *map(str, iterations)], ["---"] * 9, ["bits", *(f"{value:.3f}" for value in values)]]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _wider(model: Raven, n: int) -> str:
    values = [np.mean(missing_bits(model, task.sample(n, steps, seed=777), (max(ITERATIONS),))) for steps in STEPS]
    rows = [["steps", *map(str, STEPS)], ["---"] * 8, ["bits", *(f"{value:.3f}" for value in values)]]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
