"""What every model must answer; nothing else in latentlens reaches into one.

In: tokens. Out: states and logits, through four questions: `begin`, `step`, `finish`, `run`.
Knows nothing about families, lenses or pictures.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from latentlens.errors import CaptureError

if TYPE_CHECKING:
    from latentlens.models.tokens import Tokenizer


class At(NamedTuple):
    """Where a state stands: the iteration (0 is `s_0`), and the layer within it.

    `layer` is None for the state itself, a number from 0 for a layer's output, and a text for a further state of a
    family (`"z_L.0"`: the first low cycle of HRM-Text).
    """

    iteration: int
    layer: int | str | None = None


class Stop:
    """The type of `STOP`."""

    def __repr__(self) -> str:
        return "ll.STOP"


STOP = Stop()
"""Returned by an `on_state` callback: this state is the last one, answer from here."""

OnState = Callable[[Tensor, At], "Tensor | Stop | None"]


@dataclass
class Context:
    """What stays the same through all iterations of one run.

    `state` is `s_0`; `inputs` is what the prelude hands to every iteration; `extra` is the family's own; `iteration` is
    the one that a state to finish is of, where that is known (only a family that finishes by running again asks).
    """

    state: Float[Tensor, "prompt position d_model"]
    inputs: Float[Tensor, "prompt position d_model"]
    extra: dict[str, Any] = field(default_factory=dict)
    iteration: int | None = None


@dataclass(frozen=True)
class LoopSpec:
    """Where the loop lives in a module that latentlens did not write, as data; modules are named by their dotted paths.

    Attributes:
        family: what to call it.
        states: the modules whose outputs are states, in the order of their calls: one that is called once an
            iteration, or one for each iteration.
        start: the module whose first input (`start_of="input"`), the left columns of it ("left": the state stands first
            in a concatenation) or output is `s_0`, at its first call.
        count: the config field that says how many iterations there are; None: it cannot be chosen.
        count_at: the modules that keep a copy of `count`, as an attribute of their own.
        arguments: the arguments of the module's call that take the number of iterations, plus a number, by name.
        drawn: the scale of a random `s_0`, which is drawn in place of the module's own, so that a seed gives the same;
            None: `s_0` is not random.
        normed: whether a state already went through the norm.
        norm: the norm before the unembedding; None: there is none, or the unembedding contains it.
        unembed: the module that makes logits.
        layers: the modules of one iteration whose outputs are its layers, in order; empty: they are the states.
        aux: further modules whose outputs are kept, by name, `[prompt, iteration, call, position, d_model]`.
        bidirectional: whether a token sees those after it, so that the mask must be given.
        span: a list of layers and the part of it, `(name, start, stop)`, that one run repeats as often as it iterates.
        close: the norm that only the last of `layers` is followed by; what reads an earlier layer applies it too.
        gate: the module that makes the exit gate's logit of a state; None: there is no gate.
        finish: how a state is answered from: "replace" puts it in the place of the last one in the module's own
            forward; "rerun" runs the module for as many iterations as the state is after, where what follows the loop
            reads more than the state.
        loop: the list of layers and the part of it, `(name, start, stop)`, that a run of no iterations leaves out; only
            where `finish` is "rerun".
        idle: the list of layers and the part of it, `(name, start, stop)`, whose work is thrown away where the last
            state is replaced.
    """

    family: str
    states: tuple[str, ...]
    start: str
    unembed: str
    start_of: str = "input"
    count: str | None = None
    count_at: tuple[str, ...] = ()
    arguments: tuple[tuple[str, int], ...] = ()
    drawn: float | None = None
    normed: bool = False
    norm: str | None = None
    layers: tuple[str, ...] = ()
    aux: tuple[tuple[str, str], ...] = ()
    bidirectional: bool = False
    span: tuple[str, int, int] | None = None
    close: str | None = None
    gate: str | None = None
    finish: Literal["replace", "rerun"] = "replace"
    loop: tuple[str, int, int] | None = None
    idle: tuple[str, int, int] | None = None

    @property
    def free(self) -> bool:
        """Whether the number of iterations can be chosen."""
        return self.count is not None or self.span is not None


class LatentModel(ABC):
    """A model whose hidden state is iterated: the four questions, and what is known about the answers.

    Attributes are set by each family: `family` and `name` (what to call it), `iterations` (how many the model
    itself would make), `d_model`, `n_layers` (blocks within one iteration), `vocab_size` (length of the logits),
    `steps` (whether an iteration can be made from any state, so that `s_0` can be chosen), `patterns` (whether it can
    show its attention), `random_start` (whether `s_0` is drawn), `normed_state` (whether the state already went
    through the norm), `tokenizer` (None: token ids only), `truth` (the exact answer to a prompt, where the model's
    task knows it), and `exit_threshold` (the summed exit probability at which a model with an exit gate stops; None:
    it has no gate).
    """

    family: str
    name: str
    iterations: int
    d_model: int
    n_layers: int
    vocab_size: int
    steps: bool = True
    patterns: bool = False
    random_start: bool = False
    normed_state: bool = False
    tokenizer: Tokenizer | None = None
    truth: Callable[[str], dict[str, float]] | None = None
    exit_threshold: float | None = None

    @abstractmethod
    def begin(
        self,
        tokens: Int[Tensor, "prompt position"] | None = None,
        *,
        embeds: Float[Tensor, "prompt position d_model"] | None = None,
        mask: Tensor | None = None,
        seed: int = 0,
        initial_state: Float[Tensor, "prompt position d_model"] | None = None,
    ) -> Context:
        """The prelude: embed the input and make `s_0`."""

    @abstractmethod
    def step(self, state: Tensor, context: Context) -> Tensor:
        """One iteration: `s_r` from `s_{r-1}`."""

    @abstractmethod
    def finish(self, state: Tensor, context: Context) -> Float[Tensor, "prompt position vocab"]:
        """What the model would answer if it stopped at this state: its own logits, in its own dtype."""

    @abstractmethod
    def run(
        self,
        tokens: Int[Tensor, "prompt position"] | None = None,
        *,
        iterations: int | None = None,
        on_state: OnState | None = None,
        embeds: Tensor | None = None,
        mask: Tensor | None = None,
        seed: int = 0,
        initial_state: Tensor | None = None,
    ) -> Float[Tensor, "prompt position vocab"]:
        """All of it: every state (from `s_0`) and layer output is announced to `on_state(state, at)`.

        `on_state` may return None (go on), a tensor (which replaces the state) or `STOP`. `embeds` is a model
        input of this run in place of `tokens`.
        """

    def close(self, state: Tensor) -> Tensor:
        """What an iteration does after its last layer; nothing, for most families."""
        return state

    @abstractmethod
    def norm(self, state: Tensor) -> Tensor:
        """The norm before the unembedding, in the model's dtype."""

    @abstractmethod
    def unembed(self, hidden: Tensor) -> Tensor:
        """Logits of a normed hidden state, in the model's dtype."""

    def embed(self, tokens: Int[Tensor, "prompt position"]) -> Float[Tensor, "prompt position d_model"]:
        """The embeddings of tokens, which `embeds` stands in for; only models that run from embeddings have them."""
        raise CaptureError(
            f"expected a model that runs from embeddings, got {self.name!r} ({self.family}), which runs from token ids "
            "alone"
        )

    def read(
        self, embeds: Float[Tensor, "prompt position d_model"], *, seed: int = 0
    ) -> Float[Tensor, "prompt position d_model"]:
        """What the unembedding reads at every position, after the model's own number of iterations."""
        context = self.begin(embeds=embeds, seed=seed)
        state = context.state
        for _ in range(self.iterations):
            state = self.step(state, context)
        return self.hidden(state, context)

    def hidden(self, state: Tensor, context: Context) -> Float[Tensor, "prompt position d_model"]:
        """What the unembedding reads where the model stops at this state: the state after coda and norms."""
        raise CaptureError(
            f"expected a model that shows what its unembedding reads, got {self.name!r} ({self.family}), which does "
            "not: give it a method hidden(state, context)"
        )

    def residual(self, state: Tensor, context: Context) -> Float[Tensor, "prompt position d_model"]:
        """What the last norm reads where the model stops at this state: after the coda, before the norm.

        Where states are normed already there is no such norm, and it is what the unembedding reads.
        """
        raise CaptureError(
            f"expected a model that shows what its last norm reads, got {self.name!r} ({self.family}), which does not: "
            "give it a method residual(state, context)"
        )

    def answer(self, hidden: Tensor) -> Float[Tensor, "... vocab"]:
        """The model's logits where its unembedding reads `hidden`, with soft-caps and scales where it has them."""
        return self.unembed(hidden)

    def gate(self, state: Float[Tensor, "... d_model"]) -> Float[Tensor, "..."]:
        """The exit gate's lam_r for states `s_1, s_2 ...`, from 0 to 1; only models with a gate have one."""
        raise CaptureError(f"expected a model with an exit gate, got {self.name!r} ({self.family}), which has none")

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """The dtype of the states."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the weights are."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A short text that changes with the weights, and not with device or batch."""


def checked_iterations(iterations: int | None, model: LatentModel) -> int:
    """The number of iterations asked for, or the model's own; refuses what is not a positive whole number."""
    if iterations is None:
        return model.iterations
    if isinstance(iterations, bool) or not isinstance(iterations, int) or iterations < 1:
        raise CaptureError(
            f"expected iterations to be a whole number of 1 or more, got {iterations!r}: "
            f"leave it out for the model's own {model.iterations}"
        )
    return iterations


def checked_tokens(tokens: Any, model: LatentModel) -> Int[Tensor, "prompt position"]:
    """Token ids as a `[prompt, position]` tensor of int64; refuses other shapes and ids outside the vocabulary."""
    ids = torch.as_tensor(tokens)
    if ids.ndim != 2 or ids.numel() == 0 or ids.is_floating_point() or ids.dtype == torch.bool:
        raise CaptureError(
            f"expected token ids of shape [prompt, position], got {ids.dtype} of shape {list(ids.shape)}: "
            "for one prompt pass [[1, 2, 3]]"
        )
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= model.vocab_size:
        bad = low if low < 0 else high
        raise CaptureError(
            f"expected token ids from 0 to {model.vocab_size - 1}, got {bad}: "
            f"were these tokens made for another model than {model.name!r}?"
        )
    return ids.to(torch.int64)


def checked_mask(mask: Any, shape: tuple[int, int]) -> Tensor:
    """A mask of ones then zeros for each prompt (right padding), as bool; refuses any other."""
    out = torch.as_tensor(mask).bool()
    if tuple(out.shape) != shape:
        raise CaptureError(f"expected a mask of the tokens' shape {list(shape)}, got {list(out.shape)}")
    if bool((out[:, 1:] & ~out[:, :-1]).any()) or not bool(out[:, 0].all()):
        raise CaptureError("expected prompts padded on the right, got a mask with a gap: move the pads to the end")
    return out


def replaced(state: Tensor, reply: object, at: At) -> Tensor:
    """The state, or what the callback put in its place, if that fits."""
    if reply is None:
        return state
    if not isinstance(reply, Tensor) or reply.shape != state.shape:
        came = list(reply.shape) if isinstance(reply, Tensor) else type(reply).__name__
        raise CaptureError(
            f"expected on_state to return None, STOP or a tensor of shape {list(state.shape)} at iteration "
            f"{at.iteration}, got {came}"
        )
    return reply.to(state)
