"""Random walks on small graphs, in words: prompts, and the exact distribution that answers each.

In: a number of steps and a seed, or a prompt. Out: prompts (str), and truths ({name: probability}). A prompt is

    Ann : Bob Cal . Bob : Dee Ann . Cal : Dee Eve . Dee : Ann Bob . Eve : Cal Dee . 2 steps from Ann

Knows nothing about models, and needs no torch.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from latentlens.errors import TokenError

# fmt: off
NAMES = (
    "Ann", "Bob", "Cal", "Dee", "Eve", "Fay", "Gus", "Hal", "Ida", "Jed", "Kit", "Lou", "Mia",
    "Ned", "Ola", "Pam", "Quy", "Roy", "Sue", "Tom", "Una", "Vic", "Wes", "Xia", "Yan", "Zoe",
)
# fmt: on
"""What a node can be called."""

MOST_STEPS = 12
"""The largest number of steps that a query can ask for."""

PAD, UNKNOWN = "[PAD]", "[UNK]"
VOCABULARY = (PAD, UNKNOWN, ":", ".", "steps", "from", "walk", *map(str, range(MOST_STEPS + 1)), *NAMES)
"""Every token of the model, in the order of the ids."""

ASKS = "'N steps from NAME' or 'walk from NAME'"


@dataclass(frozen=True)
class Graph:
    """A directed graph: the nodes in the order in which the prompt gives them, and each node's successors.

    `successors[i]` are positions in `nodes`; one that is named twice weighs double.
    """

    nodes: tuple[str, ...]
    successors: tuple[tuple[int, ...], ...]

    def matrix(self) -> Float[np.ndarray, "node node"]:
        """The probability of going from a node (row) to another (column) in one step.

        >>> Graph(("Ann", "Bob"), ((1,), (0, 1, 1))).matrix().round(2).tolist()
        [[0.0, 1.0], [0.33, 0.67]]
        """
        out = np.zeros((len(self.nodes), len(self.nodes)))
        for row, successors in enumerate(self.successors):
            for column in successors:
                out[row, column] += 1 / len(successors)
        return out

    def words(self) -> list[str]:
        """The graph as the prompt says it, word by word.

        >>> " ".join(Graph(("Ann", "Bob"), ((1,), (0, 1, 1))).words())
        'Ann : Bob . Bob : Ann Bob Bob .'
        """
        out = []
        for node, successors in zip(self.nodes, self.successors, strict=True):
            out += [node, ":", *(self.nodes[i] for i in successors), "."]
        return out


@dataclass(frozen=True)
class Question:
    """What a prompt asks: so many steps from that node of that graph.

    >>> ask = parse("Ann : Bob . Bob : Ann . walk from Ann Bob")
    >>> ask.start, ask.steps
    ('Bob', 1)
    """

    graph: Graph
    start: str
    steps: int


def sample(
    n: int,
    steps: int | None,
    seed: int = 0,
    *,
    nodes: int | tuple[int, int] = (4, 7),
    successors: int | tuple[int, int] = (1, 3),
    self_loops: bool = True,
) -> list[str]:
    """`n` prompts, each a random graph and a query: `steps` steps from one of its nodes, or (None) a walk.

    `nodes` and `successors` (of each node) are numbers or inclusive ranges; `self_loops` says whether a node may be
    its own successor. The same arguments always give the same prompts.

    >>> for prompt in sample(2, steps=2, seed=1, nodes=4, successors=(1, 2)):
    ...     print(prompt)
    Lou : Kit . Kit : Kit . Quy : Dee Lou . Dee : Lou Quy . 2 steps from Kit
    Vic : Roy . Cal : Yan Roy . Roy : Yan . Yan : Vic . 2 steps from Vic
    """
    if steps is not None and checked_steps(steps) > MOST_STEPS:
        raise TokenError(f"expected steps from 0 to {MOST_STEPS}, got {steps}: the model has no word for more")
    least, most = _range(nodes, "nodes", len(NAMES))
    few, many = _range(successors, "successors", least if self_loops else least - 1)
    rng = random.Random(f"{seed} {steps} {least} {most} {few} {many} {self_loops}")
    ask = "walk from" if steps is None else f"{steps} steps from"
    out = []
    for _ in range(_whole(n, "n", 10)):
        graph = draw(rng, (least, most), (few, many), self_loops)
        out.append(" ".join([*graph.words(), ask, rng.choice(graph.nodes)]))
    return out


def draw(
    rng: random.Random,
    nodes: tuple[int, int] = (4, 7),
    successors: tuple[int, int] = (1, 3),
    self_loops: bool = True,
) -> Graph:
    """A random graph; one node in four draws its successors with repeats.

    >>> draw(random.Random(0), nodes=(2, 2), successors=(1, 1), self_loops=False).matrix().tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    count = rng.randint(*nodes)
    names = tuple(rng.sample(NAMES, count))
    out = []
    for node in range(count):
        options = [i for i in range(count) if self_loops or i != node]
        size = rng.randint(*successors)
        repeats = rng.random() < 0.25
        out.append(tuple(rng.choices(options, k=size) if repeats else rng.sample(options, size)))
    return Graph(names, tuple(out))


def parse(prompt: str) -> Question:
    """Read a prompt: its graph, and the last of its questions (those before it, with their answers, are passed over).

    >>> parse("Ann : Bob . Bob : Ann . 3 steps from Ann Bob . 2 steps from Bob")
    Question(graph=Graph(nodes=('Ann', 'Bob'), successors=((1,), (0,))), start='Bob', steps=2)
    """
    if not isinstance(prompt, str):
        raise TokenError(f"expected a prompt as text, got {type(prompt).__name__}: pass one prompt at a time")
    words = re.findall(r"[:.]|[^\s:.]+", prompt)
    links: dict[str, list[str]] = {}
    while words[1:2] == [":"]:
        node, end = words[0], words.index(".") if "." in words else len(words)
        _check_node(node, words[2:end], links)
        links[node], words = words[2:end], words[end + 1 :]
    if not links:
        raise TokenError(f"expected a graph, such as 'Ann : Bob Cal .', got {_start(words)}: name a node, then ':'")
    for node, successors in links.items():
        for successor in successors:
            if successor not in links:
                raise TokenError(
                    f"expected the successors of {node!r} to be nodes of the graph, got {successor!r}: "
                    f"add '{successor} : ... .', or take one of {', '.join(links)}"
                )
    nodes = tuple(links)
    graph = Graph(nodes, tuple(tuple(nodes.index(name) for name in found) for found in links.values()))
    return _question(graph, words)


def _check_node(node: str, successors: list[str], links: dict[str, list[str]]) -> None:
    """Refuse a node that is no name, that came before, or that leads nowhere."""
    for word in (node, *successors):
        if not word.isalpha() or word in VOCABULARY[: -len(NAMES)]:
            raise TokenError(
                f"expected names and then '.' after '{node} :', got {word!r}: "
                "end every node's successors with '.', as in 'Ann : Bob Cal .'"
            )
    if node in links:
        raise TokenError(f"expected every node once before a ':', got {node!r} twice: put its successors in one list")
    if not successors:
        raise TokenError(f"expected at least one successor after '{node} :', got none: '{node} : {node} .' stays there")


def _question(graph: Graph, words: list[str]) -> Question:
    """The last question after the graph."""
    while "." in words:
        words = words[words.index(".") + 1 :]
    if words[1:3] == ["steps", "from"] and len(words) == 4 and words[0] in VOCABULARY[7 : 8 + MOST_STEPS]:
        steps, stops = int(words[0]), words[3:]
    elif words[:2] == ["walk", "from"] and len(words) > 2:
        steps, stops = 1, words[2:]
    else:
        raise TokenError(
            f"expected the prompt to end with {ASKS}, N from 0 to {MOST_STEPS}, got {_start(words)}: "
            f"add '2 steps from {graph.nodes[0]}', for example"
        )
    for here, stop in zip([None, *stops], stops):
        if stop not in graph.nodes:
            raise TokenError(
                f"expected the question to name a node of the graph, got {stop!r}: take one of {', '.join(graph.nodes)}"
            )
        if here and graph.nodes.index(stop) not in (options := graph.successors[graph.nodes.index(here)]):
            names = ", ".join(dict.fromkeys(graph.nodes[i] for i in options))
            raise TokenError(f"expected the walk to go from {here!r} to one of {names}, got {stop!r}: follow the graph")
    return Question(graph, stops[-1], steps)


def _start(words: list[str]) -> str:
    """The first words, to show in a message."""
    return repr(" ".join(words[:6]) + (" ..." if len(words) > 6 else "")) if words else "nothing"


def truth(prompt: str, steps: int | None = None) -> dict[str, float]:
    """Where the walk that a prompt asks for ends: the probability of every node that it can end on, likeliest first.

    `steps` replaces the number in the prompt, so that the stops on the way are known too. After `walk from Ann Bob`
    the next stop is one step from Bob. Probabilities add up to 1.

    >>> graph = "Ann : Bob Cal . Bob : Dee Ann . Cal : Dee Eve . Dee : Ann Bob . Eve : Cal Dee ."
    >>> truth(f"{graph} 2 steps from Ann")
    {'Dee': 0.5, 'Ann': 0.25, 'Eve': 0.25}
    >>> truth(f"{graph} 2 steps from Ann", steps=0)
    {'Ann': 1.0}
    """
    question = parse(prompt)
    ends = _powers(question, steps)[question.graph.nodes.index(question.start)]
    return _named(question.graph, ends)


def start_blind(prompt: str, steps: int | None = None) -> dict[str, float]:
    """What the graph alone tells without the start: the mean of the truths over all nodes that could be it.

    >>> start_blind("Ann : Bob . Bob : Bob . 1 steps from Ann")
    {'Bob': 1.0}
    >>> start_blind("Ann : Bob . Bob : Bob . 0 steps from Ann")
    {'Ann': 0.5, 'Bob': 0.5}
    """
    question = parse(prompt)
    return _named(question.graph, _powers(question, steps).mean(axis=0))


def one_step_short(prompt: str) -> dict[str, float]:
    """The truth of one step less than the prompt asks for: an answer that stopped thinking too early.

    >>> one_step_short("Ann : Bob . Bob : Bob . 1 steps from Ann")
    {'Ann': 1.0}
    """
    return truth(prompt, max(0, parse(prompt).steps - 1))


def _powers(question: Question, steps: int | None) -> Float[np.ndarray, "node node"]:
    count = question.steps if steps is None else checked_steps(steps)
    return np.linalg.matrix_power(question.graph.matrix(), count)


def _named(graph: Graph, ends: Float[np.ndarray, " node"]) -> dict[str, float]:
    found = {name: float(p) for name, p in zip(graph.nodes, ends, strict=True) if p > 0}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def checked_steps(steps: object) -> int:
    """A number of steps, refused if it is not a whole number of 0 or more.

    >>> checked_steps(3)
    3
    """
    return _whole(steps, "steps", 2)


def _whole(given: object, what: str, example: int) -> int:
    if isinstance(given, bool) or not isinstance(given, int | np.integer) or given < 0:
        raise TokenError(
            f"expected {what} to be a whole number of 0 or more, got {given!r}: pass {what}={example}, for example"
        )
    return int(given)


def _range(given: int | tuple[int, int], what: str, most: int) -> tuple[int, int]:
    low, high = (given, given) if isinstance(given, int) else given
    if not 1 <= low <= high <= most:
        raise TokenError(
            f"expected {what} to be a number or a range (least, most) within 1 and {most}, got {given!r}: "
            f"pass {what}={min(most, 2)}, for example"
        )
    return low, high
