"""Make somebody else's loop run as often as asked, for a while.

In: a module, where its loop lives, a number. Out: a context in which the module loops so; afterwards it is as before.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from latentlens.errors import ModelError
from latentlens.models.base import LoopSpec


@contextmanager
def counted(module: nn.Module, spec: LoopSpec, count: int) -> Iterator[None]:
    """A loop made to run `count` times for a while; what was there comes back whatever happens."""
    if spec.span is not None:
        with repeated(module, spec.span, count):
            yield
        return
    if spec.count is None:
        yield
        return
    if count == 0 and spec.loop is not None:  # such a loop always makes one pass: without its layers, it makes none
        with repeated(module, spec.loop, 0), counted(module, spec, 1):
            yield
        return
    places: list[Any] = [text_config(module), *map(module.get_submodule, spec.count_at)]
    before = [(place, getattr(place, spec.count)) for place in places if hasattr(place, spec.count)]
    told = {name: count + plus for name, plus in spec.arguments}
    handle = module.register_forward_pre_hook(lambda _, args, kwargs: (args, kwargs | told), with_kwargs=True)
    try:
        for place, _ in before:
            setattr(place, spec.count, count)
        yield
    finally:
        handle.remove()
        for place, value in before:
            setattr(place, spec.count, value)


@contextmanager
def repeated(module: nn.Module, span: tuple[str, int, int], count: int) -> Iterator[None]:
    """A list of layers in which a span stands `count` times, the same modules and no copies, for a while."""
    path, start, stop = span
    parent_path, _, attribute = path.rpartition(".")
    parent, config = module.get_submodule(parent_path), text_config(module)
    layers: Any = getattr(parent, attribute)
    order = [*range(start), *[i for _ in range(count) for i in range(start, stop)], *range(stop, len(layers))]
    fields: dict[str, Any] = {"num_hidden_layers": len(order), "n_layer": len(order)}
    kinds = getattr(config, "layer_types", None)
    if kinds is not None:
        fields["layer_types"] = [kinds[i] for i in order]
    before = {name: getattr(config, name) for name in fields if name in vars(config or object)}
    setattr(parent, attribute, nn.ModuleList(layers[i] for i in order))
    for name in before:
        setattr(config, name, fields[name])
    try:
        yield
    finally:
        setattr(parent, attribute, layers)
        for name, value in before.items():
            setattr(config, name, value)


def text_config(module: nn.Module) -> Any:
    """The config of the language model in a module: its own, but for a module that sees images too."""
    config: Any = getattr(module, "config", None)
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def check_paths(module: nn.Module, spec: LoopSpec) -> None:
    """Refuse a spec whose module names are not there, and list the nearest that are."""
    names = [name for name, _ in module.named_modules() if name]
    wanted = [*spec.states, spec.start, spec.unembed, *spec.layers, *filter(None, (spec.norm, spec.gate))]
    for path in wanted:
        if path not in names:
            near = difflib.get_close_matches(path, names, n=3, cutoff=0.3) or names[:3]
            raise ModelError(
                f"expected a module named {path!r}, got none in {type(module).__name__}: near are {', '.join(near)}"
            )
    known = inspect.signature(module.forward).parameters
    for argument, _ in spec.arguments:
        if argument not in known:
            raise ModelError(
                f"expected {type(module).__name__} to take {argument}=, got a forward with {', '.join(known)}: load a "
                "revision of its code that does"
            )
