"""Look into a module that the user already has.

In: a torch module (a Hugging Face model, a TransformerBridge, or anything with a loop in it). Out: a `HookedModel` over
the same weights.
"""

from __future__ import annotations

import importlib
import inspect
import re
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from latentlens.errors import ModelError
from latentlens.models import FAMILIES, remote
from latentlens.models.base import LoopSpec
from latentlens.models.bridges import unbridged
from latentlens.models.hooked import Call, HookedModel
from latentlens.models.looping import check_paths, text_config
from latentlens.models.tokens import Tokenizer


def wrap(
    module: nn.Module,
    *,
    loop: str | None = None,
    norm: str | None = None,
    unembed: str | None = None,
    repeat: str | None = None,
    tokenizer: Any = None,
    iterations: int | None = None,
    call: Call | None = None,
    name: str | None = None,
) -> HookedModel:
    """A model over a module that is already there; its weights are not copied.

    Args:
        module: a Hugging Face model of a known family (Huginn and Ouro in the authors' remote code too), or a
            TransformerLens bridge to one, whose own hooks still fire; or any module, with `loop`, `unembed` and, where
            it has one, `norm` (the names within a bridge are those in `bridge.original_model`).
        loop: dotted name of the module that is called once an iteration and whose output is the state.
        norm: dotted name of the norm before the unembedding.
        unembed: dotted name of the module that makes logits.
        repeat: a span of a decoder's layers, "model.layers[10:20]", to run as often as `iterations` says (without a
            cache); at one iteration it is the model itself.
        tokenizer: a `tokenizers` or fast transformers tokenizer; None: a bridge's own, otherwise token ids only.
        iterations: how many calls of `loop` one run makes (counted on a first run where it is left out).
        call: how to run the module: `call(tokens, mask)` returns logits; by default `module(tokens)`.
        name: what to call the model.

    Raises:
        ModelError: a family that is not known, or a module name that is not there (the nearest are listed).

    >>> import latentlens as ll, torch
    >>> class Halves(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.embed, self.core = torch.nn.Embedding(8, 4), torch.nn.Linear(4, 4)
    ...         self.head = torch.nn.Linear(4, 8)
    ...     def forward(self, tokens):
    ...         state = self.embed(tokens)
    ...         for _ in range(3):
    ...             state = self.core(state)
    ...         return self.head(state)
    >>> model = ll.wrap(Halves(), loop="core", unembed="head")
    >>> ll.capture(model, tokens=[[1, 2]]).states.shape
    torch.Size([1, 4, 2, 4])
    """
    inside, own_tokenizer = unbridged(module)
    bridged, module = inside is not module, inside
    spec = _known(module, bridged) if loop is None else _given(loop, norm, unembed)
    if repeat is not None:
        spec = _repeating(module, spec, repeat)
    if loop is None and (norm or unembed):
        raise ModelError("expected norm= and unembed= only with loop=, got them without: name the looped module too")
    check_paths(module, spec)
    model = HookedModel(
        module,
        spec,
        name=name or type(module).__name__,
        iterations=iterations or _own_iterations(module, spec),
        width=_width(module, spec),
        vocab=_vocab(module, spec),
        call=call or _caller(module),
    )
    model.tokenizer = _tokenizer(own_tokenizer if tokenizer is None else tokenizer)
    if spec.gate is not None:
        config: Any = module.config
        model.exit_threshold = float(getattr(config, "early_exit_threshold", None) or 1.0)
    if model.iterations < 1:
        model.iterations = model.count_calls()
    return model


def _known(module: nn.Module, bridged: bool) -> LoopSpec:
    config = getattr(module, "config", None)
    kind = getattr(config, "model_type", None)
    for family in FAMILIES:
        if kind in family.model_types:
            maker = remote.LOOPS.get(family.name)
            return maker(config) if maker else importlib.import_module(family.module).loop(config)
    what, names = ("bridge", ", by the names in bridge.original_model") if bridged else ("module", "")
    raise ModelError(
        f"expected a {what} of a known family, got {type(module).__name__} (model_type {kind!r}): say where its loop "
        f'is with ll.wrap({what}, loop="...", norm="...", unembed="..."){names}'
    )


def _given(loop: str, norm: str | None, unembed: str | None) -> LoopSpec:
    if unembed is None:
        raise ModelError("expected unembed= beside loop=, got none: name the module that makes logits")
    return LoopSpec(family="wrapped", states=(loop,), start=loop, norm=norm, unembed=unembed)


def _repeating(module: nn.Module, spec: LoopSpec, repeat: str) -> LoopSpec:
    """The loop that a decoder becomes when a span of its layers is repeated."""
    found = re.fullmatch(r"([\w.]+)\[(\d+):(\d+)\]", repeat)
    path = found[1] if found else ""
    if spec.family != "decoder" or not found or not spec.states[0].startswith(f"{path}."):
        home = spec.states[0].rpartition(".")[0]
        raise ModelError(f"expected repeat= to name layers of a decoder, such as '{home}[1:2]', got {repeat!r}")
    start, stop, most = int(found[2]), int(found[3]), len(spec.states)
    if not 0 <= start < stop <= most:
        raise ModelError(f"expected repeat= to name layers from 0 to {most}, got {repeat!r}")
    layers = spec.states[start:stop]
    return replace(spec, states=layers[-1:], start=layers[0], layers=layers, span=(path, start, stop))


def _own_iterations(module: Any, spec: LoopSpec) -> int:
    """How many iterations the module makes by itself; 0: not known before it has run."""
    if spec.span is not None:
        return 1
    if spec.count is not None:
        return int(getattr(text_config(module), spec.count) or 0)
    return len(spec.states) if len(spec.states) > 1 else 0


def _width(module: Any, spec: LoopSpec) -> int:
    config = getattr(module, "config", None)
    width: Any = getattr(config, "hidden_size", None) or getattr(config, "n_embd", None)
    head: Any = module.get_submodule(spec.unembed)
    return int(width or head.in_features)


def _vocab(module: Any, spec: LoopSpec) -> int:
    head: Any = module.get_submodule(spec.unembed)
    return int(getattr(head, "out_features", 0) or module.config.vocab_size)


def _caller(module: nn.Module) -> Call:
    """`module(tokens)`, without a cache and with a mask where its forward knows them; logits out of what comes back."""
    known = inspect.signature(module.forward).parameters
    extra = {"use_cache": False} if "use_cache" in known else {}

    def call(tokens: Tensor, mask: Tensor | None) -> Tensor:
        masked = {} if mask is None else {"attention_mask": mask.long()}
        out = module(tokens, **masked, **extra)
        if isinstance(out, Tensor):
            return out
        return out.logits if hasattr(out, "logits") else out[0]

    return call


def _tokenizer(tokenizer: Any) -> Tokenizer | None:
    if tokenizer is None or isinstance(tokenizer, Tokenizer):
        return tokenizer
    backend = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not hasattr(backend, "id_to_token"):
        raise ModelError(
            f"expected a fast tokenizer (of the tokenizers library), got {type(tokenizer).__name__}: load the fast one"
        )
    return Tokenizer(backend)
