"""Inkling 2 Loop in transformers: a span of layers that runs several passes, each from where the first began.

In: a config. Out: where its loop lives. A pass starts at the pre-loop state again and is told of the pass before by
messages, which are made of its block states: the residual stream at the start of every block of
`n_layers_per_attn_res_block` layers. `s_0` is the output of the last layer before the loop. The state is a pair: the
hidden state after the last layer of a pass goes to `traj.states`; the block states that differ from pass to pass go to
`traj.aux` ("block.0", ... in their order). The other block states are not kept: those of the layers before the loop are
the same in every pass, and the one at which the loop begins is `s_0`.

The layers after the loop read hidden and block states; then come the final norm, the unembedding and a soft-cap. So
`finish(s_r)` is the model's own run of r passes, and only for a state that such a run has.
"""

from __future__ import annotations

from typing import Any

from latentlens.models.base import LoopSpec


def loop(config: Any) -> LoopSpec:
    """The text model, or the one that sees images too, whose layers are one level deeper."""
    home = "model" if config.get_text_config() is config else "model.language_model"
    text = config.get_text_config()
    start, stop, block = text.loop_layer_index_start, text.loop_layer_index_end, text.n_layers_per_attn_res_block
    layers = f"{home}.layers"
    return LoopSpec(
        family="inkling2_loop",
        states=(f"{layers}.{stop - 1}",),
        start=f"{layers}.{start - 1}",
        start_of="output",
        count="loop_num_passes",
        norm=f"{home}.norm",
        unembed="lm_head",
        layers=tuple(f"{layers}.{i}" for i in range(start, stop)),
        aux=tuple(("block", f"{layers}.{i - 1}") for i in range(start + block, stop, block)),
        finish="rerun",
        loop=(layers, start, stop),
    )
