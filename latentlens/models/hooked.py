"""Any module with a loop in it, through plain forward hooks and a `LoopSpec`.

In: a torch module and where its loop lives. Out: a `LatentModel` whose `run` is the module's own forward. Hooks, and
a loop count put into the config, are there for the run only, and are taken back whatever happens; a lock for each
module keeps two runs from mixing. `finish(s_r)` is the module's own forward with the last iteration's output replaced
by `s_r`.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
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
    replaced,
)
from latentlens.models.looping import counted
from latentlens.models.parts import weights_fingerprint

Call = Callable[..., Any]
_LOCKS: weakref.WeakKeyDictionary[nn.Module, threading.RLock] = weakref.WeakKeyDictionary()
_LOCKS_LOCK = threading.Lock()


class _Stopped(Exception):
    """Raised in a hook to leave the module's forward at once."""


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
        self.normed_state = spec.normed
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

        self._forward(ids, seen, self.iterations, first)
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
        logits, stopped_at = self._forward(ids, seen, count, on_state)
        if logits is None:
            return self.finish(stopped_at, Context(state=stopped_at, inputs=ids, extra={"mask": seen}))
        return logits

    def finish(self, state: Tensor, context: Context) -> Tensor:
        count = 1 if self.spec.free else self.iterations
        last = count

        def put(came: Tensor, at: At) -> Tensor | None:
            return state if at == At(last) else None

        logits, _ = self._forward(context.inputs, context.extra["mask"], count, put)
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
            self._forward(torch.zeros(1, 1, dtype=torch.int64, device=self.device), None, 1, count)
        return calls

    def norm(self, state: Tensor) -> Tensor:
        return state if self.spec.norm is None else self.module.get_submodule(self.spec.norm)(state)

    def close(self, state: Tensor) -> Tensor:
        return state if self.spec.close is None else self.module.get_submodule(self.spec.close)(state)

    def unembed(self, hidden: Tensor) -> Tensor:
        return self.module.get_submodule(self.spec.unembed)(hidden)

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
        if initial_state is not None:
            raise CaptureError(
                f"expected no initial_state for {self.name!r} ({self.family}), got one: its s_0 is made inside its own "
                "forward"
            )
        ids = checked_tokens(tokens, self)
        seen = None if mask is None else checked_mask(mask, (ids.shape[0], ids.shape[1]))
        return ids.to(self.device), None if seen is None else seen.to(self.device)

    def _checked_count(self, iterations: int | None) -> int:
        count = checked_iterations(iterations, self)
        if not self.spec.free and count != self.iterations:
            raise CaptureError(
                f"expected iterations={self.iterations} for {self.name!r} ({self.family}), got {count}: its number of "
                "iterations is fixed, leave it out"
            )
        return count

    def _forward(self, ids: Tensor, mask: Tensor | None, count: int, on_state: OnState | None) -> Any:
        """The module's own forward under hooks; (logits, None), or (None, the state at which it was stopped)."""
        with self.lock, ExitStack() as stack:
            watch = _Watch(self, on_state)
            stack.enter_context(watch.hooks())  # before the layers may be repeated: their names are still their own
            stack.enter_context(counted(self.module, self.spec, count))
            try:
                logits = self.call(ids, mask if self.spec.bidirectional else None)
            except _Stopped:
                return None, watch.state
            return logits, None


class _Watch:
    """The hooks of one run: they count the states, announce them, and put replacements in their place."""

    def __init__(self, model: HookedModel, on_state: OnState | None) -> None:
        self.model, self.spec, self.on_state = model, model.spec, on_state
        self.came, self.aux_of, self.started, self.state = 0, 0, False, torch.empty(0)

    @contextmanager
    def hooks(self) -> Iterator[None]:
        spec, handles = self.spec, []
        get = self.model.module.get_submodule
        try:
            if spec.start_of == "input":
                handles.append(get(spec.start).register_forward_pre_hook(self._start_input, with_kwargs=True))
            else:
                handles.append(get(spec.start).register_forward_hook(self._start_output))
            for number, path in enumerate(spec.layers):
                handles.append(get(path).register_forward_hook(self._layer(number)))
            for name, path in spec.aux:
                handles.append(get(path).register_forward_hook(self._aux(name)))
            for path in dict.fromkeys(spec.states):
                handles.append(get(path).register_forward_hook(self._state))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _start_input(self, module: nn.Module, args: tuple, kwargs: dict) -> Any:
        if self.started:
            return None
        if args:
            return (self._started(args[0]), *args[1:]), kwargs
        key = next(k for k, v in kwargs.items() if isinstance(v, Tensor) and v.is_floating_point())
        return args, kwargs | {key: self._started(kwargs[key])}

    def _start_output(self, module: nn.Module, args: tuple, out: Any) -> Any:
        return None if self.started else _with_state(out, self._started(_state_of(out)))

    def _started(self, state: Tensor) -> Tensor:
        self.started = True
        return self._announced(state, At(0))

    def _state(self, module: nn.Module, args: tuple, out: Any) -> Any:
        self.came += 1
        if not self.spec.layers and self.on_state is not None:
            out = _with_state(out, self._layer_reply(_state_of(out), At(self.came, 0)))
        return _with_state(out, self._announced(_state_of(out), At(self.came)))

    def _layer(self, number: int) -> Callable:
        def hook(module: nn.Module, args: tuple, out: Any) -> Any:
            return _with_state(out, self._layer_reply(_state_of(out), At(self.came + 1, number)))

        return hook

    def _aux(self, name: str) -> Callable:
        calls = 0

        def hook(module: nn.Module, args: tuple, out: Any) -> Any:
            nonlocal calls
            if calls and self.aux_of != self.came:
                calls = 0
            self.aux_of, calls = self.came, calls + 1
            return _with_state(out, self._layer_reply(_state_of(out), At(self.came + 1, f"{name}.{calls - 1}")))

        return hook

    def _layer_reply(self, out: Tensor, at: At) -> Tensor:
        if self.on_state is None:
            return out
        reply = self.on_state(out, at)
        if reply is STOP:
            raise CaptureError(
                f"expected STOP at the end of an iteration, got it at layer {at.layer} of iteration {at.iteration}: "
                "return it where at.layer is None"
            )
        return replaced(out, reply, at)

    def _announced(self, state: Tensor, at: At) -> Tensor:
        reply = None if self.on_state is None else self.on_state(state, at)
        if reply is STOP:
            self.state = state
            raise _Stopped
        return replaced(state, reply, at)


def _state_of(out: Any) -> Tensor:
    """The state in a module's output, which is a tensor or has it first."""
    return out if isinstance(out, Tensor) else out[0]


def _with_state(out: Any, state: Tensor) -> Any:
    if isinstance(out, Tensor):
        return state
    return type(out)((state, *out[1:])) if isinstance(out, (tuple, list)) else out
