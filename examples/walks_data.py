"""Batches to train `walks` on: a graph, then queries and walks until the row is full.

In: a seed, an update, what may be asked. Out: token ids, and the exact distribution at every place that has one.
Each query ends on a node's name; the answer that follows it is sampled, the target there is the whole truth.
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


@dataclass(frozen=True)
class Batch:
    """One update's rows, and their targets: `truth[i]` is the distribution after position `at[i]` (flat)."""

    ids: Int[np.ndarray, "row position"]
    at: Int[np.ndarray, target]
    kind: Int[np.ndarray, target]
    truth: Float[np.ndarray, "target vocab"]


@dataclass(frozen=True)
class Ask:
    """What a batch may ask: how often each number of steps, and how often a walk."""

    weights: tuple[float, ...]  # by number of steps
    walks: float = 0.1


def batch(seed: int, update: int, ask: Ask, rows: int, length: int, vocab: int) -> Batch:
    """The rows of one update; a function of its arguments alone, so that a resumed run sees the same ones."""
    rng = random.Random(f"{seed} {update}")
    ids, at, kind, truth = [], [], [], []
    for row in range(rows):
        easy = rng.random() < 0.25  # the graphs of the evaluation
        graph = draw(rng, (5, 5), (1, 2), False) if easy else draw(rng)
        words, targets = _row(rng, graph, ask, length)
        ids.append([ID[word] for word in words[:length]])
        names = [ID[name] for name in graph.nodes]
        powers = np.stack([np.linalg.matrix_power(graph.matrix(), k) for k in range(MOST_STEPS + 1)])
        for position, what, node in targets:
            if position < length:
                wide = np.zeros(vocab, dtype=np.float32)
                wide[names] = powers[1 if what == WALK else what, node]
                at.append(row * length + position)
                kind.append(what)
                truth.append(wide)
    return Batch(np.array(ids), np.array(at), np.array(kind), np.stack(truth))


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
