"""Dory, a looped nGPT in transformers: `layers(norm(s) + norm(s_0))` again and again, then layers of its own as a coda.

In: a config. Out: where its loop lives. The state is raw; `s_0` is the output of the last input layer.
"""

from __future__ import annotations

from typing import Any

from latentlens.models.base import LoopSpec


def loop(config: Any) -> LoopSpec:
    """The recurrent layers stand behind `n_input_layers`; the first call of the norm is on `s_0`."""
    first = config.n_input_layers
    recurrent = range(first, first + config.n_recurrent_layers)
    return LoopSpec(
        family="dory",
        states=(f"model.layers.{recurrent[-1]}",),
        start="model.norm",
        count="n_recurrent_loops",
        norm="model.norm",
        unembed="lm_head",
        layers=tuple(f"model.layers.{i}" for i in recurrent),
    )
