"""ALBERT in transformers: one group of layers, again and again, over all tokens at once; a masked language model.

In: a config. Out: where its loop lives. `s_0` is the projected embedding; the whole prediction head reads a state.
"""

from __future__ import annotations

from typing import Any

from latentlens.errors import ModelError
from latentlens.models.base import LoopSpec


def loop(config: Any) -> LoopSpec:
    """Only one group of layers is a loop; more are refused."""
    if config.num_hidden_groups != 1:
        raise ModelError(
            f"expected num_hidden_groups to be 1 in the config, got {config.num_hidden_groups!r}: several groups of "
            "layers are no loop"
        )
    group = "albert.encoder.albert_layer_groups.0"
    return LoopSpec(
        family="albert",
        states=(group,),
        start="albert.encoder.embedding_hidden_mapping_in",
        start_of="output",
        count="num_hidden_layers",
        unembed="predictions",
        layers=tuple(f"{group}.albert_layers.{i}" for i in range(config.inner_group_num)),
        bidirectional=True,
    )
