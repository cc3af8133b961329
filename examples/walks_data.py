"""Batches to train `walks` on: a graph, then queries and walks until the row is full.

In: a seed, an update, what may be asked. Out: token ids, and the exact distribution at every place that has one.
Each query ends on a node's name; the answer that follows it is sampled, the target there is the whole truth: where
the walk is after as many steps as are asked, or after as many as there are iterations where those are fewer.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from latentlens.models.walks.task import MOST_STEPS, VOCABULARY, Graph, draw

ID = {word: i for i, word in enumerate(VOCABULARY)}
WALK = MOST_STEPS + 1
"""The kind of a stop on a walk; the kind of a query is its number of steps."""
UNFINISHED = -1
"""The kind of a query for more steps than there are iterations."""
GRAPHS = (  # how often, and the options of `draw`
    (0.15, ((4, 7), (1, 3), True)),
    (0.70, ((5, 5), (1, 2), False)),
    (0.12, ((4, 7), (1, 2), True)),
    (0.03, ((4, 7), (1, 1), False)),
)


@dataclass(frozen=True)
class Batch:
    """One update's rows, and their targets: `truth[i]` is the distribution after position `at[i]` (flat)."""

    ids: Int[np.ndarray, "row position"]
    window: range  # the iterations that are trained and decoded
    at: Int[np.ndarray, " target"]
    kind: Int[np.ndarray, " target"]  # steps, WALK, or UNFINISHED
    truth: Float[np.ndarray, "iteration target vocab"]
    blind: Float[np.ndarray, " target"]  # what an answer that knows the graph alone would miss [nats]


@dataclass(frozen=True)
class Ask:
    """What a batch may ask: how often each number of steps, and how often a walk."""

    weights: tuple[float, ...]  # by number of steps
    walks: float = 0.05


def batch(seed: int, update: int, ask: Ask, window: range, rows: int, length: int, vocab: int) -> Batch:
    """The rows of one update; a function of its arguments alone, so that a resumed run sees the same ones."""
    rng = random.Random(f"{seed} {update}")
    ids, targets = [], []
    for row in range(rows):
        graph = draw(rng, *rng.choices([g for _, g in GRAPHS], [share for share, _ in GRAPHS])[0])
        words, places = _row(rng, graph, ask, length)
        ids.append([ID[word] for word in words[:length]])
        names = [ID[name] for name in graph.nodes]
        powers = _powers(graph.matrix())
        for position, kind, node in places:
            if position < length:
                steps = 1 if kind == WALK else kind
                wide = np.zeros((len(window), vocab), dtype=np.float32)
                wide[:, names] = powers[[min(steps, i) for i in window], node]
                unfinished = kind != WALK and kind > window[-1]
                blind = _blind(powers[min(steps, window[-1])], node)
                targets.append((row * length + position, UNFINISHED if unfinished else kind, wide, blind))
    at, kinds, truth, blind = zip(*targets)
    return Batch(np.array(ids), window, np.array(at), np.array(kinds), np.stack(truth, 1), np.array(blind))


def _powers(matrix: Float[np.ndarray, "node node"]) -> Float[np.ndarray, "steps node node"]:
    out = [np.eye(len(matrix))]
    for _ in range(MOST_STEPS):
        out.append(out[-1] @ matrix)
    return np.stack(out)


def _blind(ends: Float[np.ndarray, "node node"], node: int) -> float:
    """KL from the truth of one start to the mean over all starts [nats]."""
    truth, mean = ends[node], ends.mean(axis=0)
    some = truth > 0
    return float((truth[some] * np.log(truth[some] / mean[some])).sum())


def _row(rng: random.Random, graph: Graph, ask: Ask, length: int) -> tuple[list[str], list[tuple[int, int, int]]]:
    """The words of one row, and its targets as (position, kind, node)."""
    words, targets = graph.words(), []
    while len(words) < length:
        node = rng.randrange(len(graph.nodes))
        if rng.random() < ask.walks:
            words += ["walk", "from", graph.nodes[node]]
            for _ in range(rng.randint(2, 6)):
                targets.append((len(words) - 1, WALK, node))
                node = rng.choice(graph.successors[node])
                words.append(graph.nodes[node])
            targets.append((len(words) - 1, WALK, node))
        else:
            steps = rng.choices(range(len(ask.weights)), ask.weights)[0]
            words += [str(steps), "steps", "from", graph.nodes[node]]
            targets.append((len(words) - 1, steps, node))
            for _ in range(steps):  # where one walk ends is a fair sample of the truth
                node = rng.choice(graph.successors[node])
            words.append(graph.nodes[node])
        words.append(".")
    return words, targets
