"""HRM-Text in transformers: a slow stack H, and a fast stack L that runs several cycles within each of H's.

In: a config. Out: where its loop lives. One iteration is one H cycle; its state `z_H` is already normed, `s_0` is the
scaled embedding, and `z_L` after each L cycle is kept beside it.
"""

from __future__ import annotations

from typing import Any

from latentlens.models.base import LoopSpec


def loop(config: Any) -> LoopSpec:
    """The rotary embedding is the first to be handed the scaled embedding, which is `z_H` before the first cycle."""
    return LoopSpec(
        family="hrm_text",
        states=("model.H_module",),
        start="model.rotary_emb",
        count="H_cycles",
        normed=True,
        unembed="lm_head",
        layers=tuple(f"model.H_module.layers.{i}" for i in range(config.num_layers_per_stack)),
        close="model.H_module.final_norm",
        aux=(("z_L", "model.L_module"),),
    )
