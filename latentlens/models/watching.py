"""The hooks of one run of somebody else's module.

In: the module, where its loop lives, and what wants to hear of the states. Out: every state and layer output,
announced with its iteration; what is returned for one takes its place. Knows nothing about what reads a state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from latentlens.errors import CaptureError
from latentlens.models.base import STOP, At, LoopSpec, OnState, replaced


class Stopped(Exception):
    """Raised in a hook to leave the module's forward at once."""


class Watch:
    """The hooks of one run: they count the states, announce them, and put replacements in their place."""

    def __init__(
        self, module: nn.Module, spec: LoopSpec, width: int, on_state: OnState | None, start: Callable[[Tensor], Tensor]
    ) -> None:
        self.module, self.spec, self.width, self.on_state, self.start = module, spec, width, on_state, start
        self.came, self.started = 0, False
        self.state = self.first = torch.empty(0)
        self.calls: dict[str, tuple[int, int]] = {}
        self.kept: dict[str, Tensor] = {}

    @contextmanager
    def hooks(self) -> Iterator[None]:
        spec, handles = self.spec, []
        get = self.module.get_submodule
        try:
            if spec.start_of != "output":
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
            return (self._first(args[0]), *args[1:]), kwargs
        key = next(k for k, v in kwargs.items() if isinstance(v, Tensor) and v.is_floating_point())
        return args, kwargs | {key: self._first(kwargs[key])}

    def _first(self, given: Tensor) -> Tensor:
        if self.spec.start_of == "input":
            return self._started(given)
        state, rest = given.tensor_split([self.width], dim=-1)
        return torch.cat([self._started(state), rest], dim=-1)

    def _start_output(self, module: nn.Module, args: tuple, out: Any) -> Any:
        return None if self.started else _with_state(out, self._started(_state_of(out)))

    def _started(self, state: Tensor) -> Tensor:
        self.started = True
        self.first = self.start(state)
        self.first = self._announced(self.first, At(0))
        return self.first

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
        def hook(module: nn.Module, args: tuple, out: Any) -> Any:
            iteration, calls = self.calls.get(name, (0, 0))
            number = calls if iteration == self.came + 1 else 0
            self.calls[name] = (self.came + 1, number + 1)
            state = self._layer_reply(_state_of(out), At(self.came + 1, f"{name}.{number}"))
            self.kept[f"{name}.{number}"] = state
            return _with_state(out, state)

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
            raise Stopped
        return replaced(state, reply, at)


def _state_of(out: Any) -> Tensor:
    """The state in a module's output, which is a tensor or has it first."""
    return out if isinstance(out, Tensor) else out[0]


def _with_state(out: Any, state: Tensor) -> Any:
    if isinstance(out, Tensor):
        return state
    return type(out)((state, *out[1:])) if isinstance(out, (tuple, list)) else out
