"""Any decoder in transformers, with its layers as iterations.

In: a config. Out: where its layers live. The state is raw; the model's own forward reads it through the final norm, the
unembedding, and soft-caps or scales where it has them.
"""

from __future__ import annotations

from typing import Any

from latentlens.models.base import LoopSpec

# Where an architecture keeps its layers, its final norm and its head.
PLACES = {
    "gpt2": ("transformer.h", "transformer.ln_f", "lm_head"),
    "gpt_neox": ("gpt_neox.layers", "gpt_neox.final_layer_norm", "lm_head"),
}
MODERN = ("model.layers", "model.norm", "lm_head")


def loop(config: Any) -> LoopSpec:
    """Every layer ends an iteration; what goes into the first is `s_0`."""
    layers, norm, head = PLACES.get(config.model_type, MODERN)
    states = tuple(f"{layers}.{i}" for i in range(config.num_hidden_layers))
    idle = (layers, 0, len(states) - 1)  # all but the last
    return LoopSpec(family="decoder", states=states, start=states[0], norm=norm, unembed=head, idle=idle)
