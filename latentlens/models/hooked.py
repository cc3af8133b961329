"""Any module with a loop in it, through plain forward hooks and a `LoopSpec`.

In: a torch module and where its loop lives. Out: a `LatentModel` whose `run` is the module's own forward. Hooks, and
a loop count put into the config, are there for the run only, and are taken back whatever happens; a lock for each
module keeps two runs from mixing. `finish(s_r)` is the module's own forward with the last iteration's output replaced
by `s_r`; where what follows the loop reads more than the state, it is the module's own run of r iterations.
"""

from __future__ import annotations

import inspect
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from latentlens.errors import CaptureError
from latentlens.models.base import (
    STOP,
    At,
    Context,
    LatentModel,
    LoopSpec,
    OnState,
    Stop,
    checked_iterations,
    checked_mask,
    checked_tokens,
)
from latentlens.models.looping import counted, repeated
from latentlens.models.parts import drawn_start, weights_fingerprint
from latentlens.models.watching import Stopped, Watch

Call = Callable[..., Any]
_LOCKS: weakref.WeakKeyDictionary[nn.Module, threading.RLock] = weakref.WeakKeyDictionary()
_LOCKS_LOCK = threading.Lock()


class HookedModel(LatentModel):
    """A module of somebody else's, looked into through hooks; made by `ll.wrap` or by `ll.load`."""

    steps = False

    def __init__(
        self, module: nn.Module, spec: LoopSpec, *, name: str, iterations: int, width: int, vocab: int, call: Call
    ) -> None:
        self.module, self.spec, self.call = module, spec, call
        self.family, self.name, self.iterations = spec.family, name, iterations
        self.d_model, self.vocab_size = width, vocab
        self.n_layers = len(spec.layers) or 1
        self.normed_state, self.random_start = spec.normed, spec.drawn is not None
        with _LOCKS_LOCK:
            self.lock = _LOCKS.setdefault(module, threading.RLock())

    def begin(
        self,
        tokens: Tensor | None = None,
        *,
        embeds: Tensor | None = None,
        mask: Tensor | None = None,
        seed: int = 0,
        initial_state: Tensor | None = None,
    ) -> Context:
        ids, seen = self._inputs(tokens, embeds, mask, initial_state)
        found: list[Tensor] = []

        def first(state: Tensor, at: At) -> Stop:
            found.append(state)
            return STOP

        self._forward(ids, seen, self.iterations, first, self._start(seed, initial_state))
        return Context(state=found[0], inputs=ids, extra={"mask": seen})

    def step(self, state: Tensor, context: Context) -> Tensor:
        raise CaptureError(
            f"expected a model that can step, got {self.name!r} ({self.family}), whose loop runs inside its own forward"
        )

    def run(
        self,
        tokens: Tensor | None = None,
        *,
        iterations: int | None = None,
        on_state: OnState | None = None,
        embeds: Tensor | None = None,
        mask: Tensor | None = None,
        seed: int = 0,
        initial_state: Tensor | None = None,
    ) -> Tensor:
        ids, seen = self._inputs(tokens, embeds, mask, initial_state)
        count = self._checked_count(iterations)
        logits, watch = self._forward(ids, seen, count, on_state, self._start(seed, initial_state))
        if logits is None:
            return self._answered(watch, ids, seen)
        return logits

    def finish(self, state: Tensor, context: Context) -> Tensor:
        seen = context.extra["mask"]
        if self.spec.finish == "rerun":
            return self._rerun(state, context.inputs, seen, context.iteration)
        if self.spec.normed and context.state.shape == state.shape:
            state = self._normed(state) if torch.equal(_seen(state, seen), _seen(context.state, seen)) else state
        return self._read(state, context.inputs, seen)

    def _answered(self, watch: Watch, ids: Tensor, seen: Tensor | None) -> Tensor:
        """What the module says where it was stopped; whatever was replaced on the way stays replaced."""
        if self.spec.finish == "replace":
            return self._read(self._normed(watch.state) if watch.came == 0 else watch.state, ids, seen)
        last = min(watch.came, 1)
        kept = {At(last, name): state for name, state in watch.kept.items()}
        put = kept | {At(0): watch.first, At(last): watch.state}
        logits, _ = self._forward(ids, seen, last, lambda state, at: put.get(at))
        return logits

    def _rerun(self, state: Tensor, ids: Tensor, seen: Tensor | None, iteration: int | None) -> Tensor:
        """The module's own run of as many iterations as `state` is after; only a state of that run has an answer."""
        count = self.iterations if iteration is None else iteration
        apart: dict[int, float] = {}

        def compare(own: Tensor, at: At) -> None:
            if at.layer is None:
                apart[at.iteration] = _apart(own, state, seen)

        logits, _ = self._forward(ids, seen, count, compare)
        found = count if iteration is not None else min(apart, key=lambda r: apart[r])
        if apart[found] > (1e-3 if self.dtype in (torch.float32, torch.float64) else 0.1):
            where = f"iteration {iteration}" if iteration is not None else f"one of iterations 0 to {count}"
            raise CaptureError(
                f"expected the state that {self.name!r} ({self.family}) itself has after {where} of these tokens, got "
                "another: what follows its loop reads more than the state; replace states during a run, or use "
                'lens="logit"'
            )
        return logits if found == count else self._forward(ids, seen, found, None)[0]

    def _normed(self, start: Tensor) -> Tensor:
        """`s_0` as the others are: where states are normed, it is the one that no norm has seen yet."""
        return self.norm(start) if self.spec.normed else start

    def _read(self, state: Tensor, ids: Tensor, seen: Tensor | None) -> Tensor:
        """The module's own forward, with the last state replaced; without the layers whose work it would throw away."""
        idle = None if self.spec.free else self.spec.idle
        last = 1 if self.spec.free or idle else self.iterations

        def put(came: Tensor, at: At) -> Tensor | None:
            return state if at == At(last) else None

        logits, _ = self._forward(ids, seen, last, put, idle=idle)
        if logits is None:
            raise CaptureError(f"expected logits from {self.name!r}, got none")
        return logits

    def count_calls(self) -> int:
        """How many iterations the module makes by itself, counted on one token."""
        calls = 0

        def count(state: Tensor, at: At) -> None:
            nonlocal calls
            calls = max(calls, at.iteration)

        with torch.no_grad():
            self._forward(torch.zeros(1, 1, dtype=torch.int64, device=self.device), None, None, count)
        return calls

    def norm(self, state: Tensor) -> Tensor:
        return state if self.spec.norm is None else self.module.get_submodule(self.spec.norm)(state)

    def gate(self, state: Tensor) -> Tensor:
        if self.spec.gate is None:
            return super().gate(state)
        return torch.sigmoid(self.module.get_submodule(self.spec.gate)(state)[..., 0].float())

    def close(self, state: Tensor) -> Tensor:
        return state if self.spec.close is None else self.module.get_submodule(self.spec.close)(state)

    def unembed(self, hidden: Tensor) -> Tensor:
        return self.module.get_submodule(self.spec.unembed)(hidden)

    def embed(self, tokens: Tensor) -> Tensor:
        self._needs_embeds()
        module: Any = self.module
        return module.get_input_embeddings()(tokens.to(self.device))

    def read(self, embeds: Tensor, *, seed: int = 0) -> Tensor:
        self._needs_embeds()
        found: list[Tensor] = []

        def keep(module: nn.Module, args: tuple) -> None:
            found.append(args[0])
            raise Stopped

        with self._unembedding(keep), suppress(Stopped):
            options = {"use_cache": False} if "use_cache" in inspect.signature(self.module.forward).parameters else {}
            self.module(inputs_embeds=embeds.to(self.device, self.dtype), **options)
        return found[0]

    def answer(self, hidden: Tensor) -> Tensor:
        # The module's own forward on any token, for what it does after its unembedding: soft-caps, scales.
        with self._unembedding(lambda module, args: (hidden, *args[1:])):
            return self.call(torch.zeros(1, 1, dtype=torch.int64, device=self.device), None)

    @contextmanager
    def _unembedding(self, hook: Callable) -> Iterator[None]:
        """The module as it is by itself, with a hook on what its unembedding reads."""
        with self.lock, counted(self.module, self.spec, self.iterations):
            handle = self.module.get_submodule(self.spec.unembed).register_forward_pre_hook(hook)
            try:
                yield
            finally:
                handle.remove()

    def _needs_embeds(self) -> None:
        if self.spec.bidirectional:
            raise CaptureError(
                f"expected a model whose tokens see those before them alone, got {self.name!r} ({self.family}), whose "
                "tokens see each other: it has no next position to feed a state into; use ll.capture"
            )
        if "inputs_embeds" not in inspect.signature(self.module.forward).parameters:
            raise CaptureError(
                f"expected a model that runs from embeddings, got {self.name!r} ({self.family}), whose forward takes "
                "no inputs_embeds: give it that argument"
            )

    @property
    def dtype(self) -> torch.dtype:
        return next(p.dtype for p in self.module.parameters() if p.is_floating_point())

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    @property
    def fingerprint(self) -> str:
        return weights_fingerprint(self.module)

    def _inputs(
        self, tokens: Tensor | None, embeds: Tensor | None, mask: Tensor | None, initial_state: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        if tokens is None or embeds is not None:
            raise CaptureError(f"expected tokens for {self.name!r} ({self.family}), got embeds: it runs from token ids")
        if initial_state is not None and not self.random_start:
            raise CaptureError(
                f"expected no initial_state for {self.name!r} ({self.family}), got one: its s_0 is made inside its own "
                "forward"
            )
        ids = checked_tokens(tokens, self)
        seen = None if mask is None else checked_mask(mask, (ids.shape[0], ids.shape[1]))
        return ids.to(self.device), None if seen is None else seen.to(self.device)

    def _start(self, seed: int, initial_state: Tensor | None) -> Callable[[Tensor], Tensor]:
        """What takes the place of the module's own `s_0`: the one that was given, or the one that the seed gives."""

        def start(own: Tensor) -> Tensor:
            if initial_state is not None and initial_state.shape != own.shape:
                raise CaptureError(
                    f"expected initial_state of shape {list(own.shape)} [prompt, position, d_model], "
                    f"got {list(initial_state.shape)}"
                )
            if initial_state is not None:
                return initial_state.to(own)
            return own if self.spec.drawn is None else drawn_start(own, seed, self.spec.drawn)

        return start

    def _checked_count(self, iterations: int | None) -> int:
        count = checked_iterations(iterations, self)
        if not self.spec.free and count != self.iterations:
            raise CaptureError(
                f"expected iterations={self.iterations} for {self.name!r} ({self.family}), got {count}: its number of "
                "iterations is fixed, leave it out"
            )
        return count

    def _forward(
        self,
        ids: Tensor,
        mask: Tensor | None,
        count: int | None,
        on_state: OnState | None,
        start: Callable[[Tensor], Tensor] = lambda own: own,
        idle: tuple[str, int, int] | None = None,
    ) -> tuple[Any, Watch]:
        """The module's own forward under hooks; no logits where it was stopped. `count` None: as many as come."""
        with self.lock, ExitStack() as stack:
            watch = Watch(self.module, self.spec, self.d_model, on_state, start)
            stack.enter_context(watch.hooks())  # before the layers may be repeated: their names are still their own
            stack.enter_context(counted(self.module, self.spec, 1 if count is None else count))
            if idle is not None:
                stack.enter_context(repeated(self.module, idle, 0))
            try:
                logits = self.call(ids, mask if self.spec.bidirectional else None)
            except Stopped:
                return None, watch
            if count is not None and watch.came != count:
                raise CaptureError(
                    f"expected {count} iterations of {self.name!r} ({self.family}), got {watch.came}: "
                    f"{'pass' if self.spec.free else 'wrap it with'} iterations={watch.came}, or switch its exit off"
                )
            return logits, watch


def _seen(state: Tensor, mask: Tensor | None) -> Tensor:
    return state if mask is None else state[mask]


def _apart(own: Tensor, state: Tensor, mask: Tensor | None) -> float:
    """How far a state is from the module's own, as a share of its length; pads do not count."""
    if own.shape != state.shape:
        return float("inf")
    mine, given = _seen(own, mask).float(), _seen(state.to(own), mask).float()
    return float((given - mine).norm() / mine.norm())
