"""Huginn and Ouro in the authors' own code, which the user loaded with `trust_remote_code=True`.

In: a config. Out: where the loop lives. latentlens never runs such code by itself; `ll.load` reads the same weights
into classes of its own, which can also step.
"""

from __future__ import annotations

import math
from typing import Any

from latentlens.errors import ModelError
from latentlens.models.base import LoopSpec


def raven(config: Any) -> LoopSpec:
    """Huginn: the number of iterations is an argument of the call, and `s_0` is random.

    `s_0` stands left in the first input of the adapter; it is replaced by that of the native model for the same seed.
    """
    noise, injection = getattr(config, "test_time_noise", 0), getattr(config, "injection_type", "linear")
    if noise:
        raise ModelError(f"expected test_time_noise to be 0 in the config, got {noise!r}: set it to 0 to look inside")
    if injection != "linear":
        raise ModelError(
            f"expected injection_type to be 'linear' in the config, got {injection!r}: this variant of Huginn is not "
            "understood"
        )
    width, init = config.n_embd, getattr(config, "init_values", None) or {}
    blocks = tuple(f"transformer.core_block.{i}" for i in range(config.n_layers_in_recurrent_block))
    return LoopSpec(
        family="raven",
        states=blocks[-1:],
        start="transformer.adapter",
        start_of="left",
        count="mean_recurrence",
        arguments=(("num_steps", 0),),
        drawn=init.get("std", math.sqrt(2 / (5 * width))) * init.get("embed_scale", math.sqrt(width)),
        norm="transformer.ln_f",
        unembed="lm_head",
        layers=blocks,
    )


def ouro(config: Any) -> LoopSpec:
    """Ouro: the inner model keeps a copy of the count, and the call is told to answer from the last iteration.

    Without `exit_at_step` it would answer from the iteration at which the summed exit probability reaches a threshold.
    """
    layers = tuple(f"model.layers.{i}" for i in range(config.num_hidden_layers))
    return LoopSpec(
        family="ouro",
        states=("model.norm",),
        start=layers[0],
        count="total_ut_steps",
        count_at=("model",),
        arguments=(("exit_at_step", -1),),
        normed=True,
        norm="model.norm",
        unembed="lm_head",
        layers=layers,
        close="model.norm",
        gate="model.early_exit_gate",
    )


LOOPS = {"raven": raven, "ouro": ouro}
"""By the name of the family, whose own file holds the native model."""
