"""Look into a TransformerLens bridge that the user already has.

In: anything. Out: the Hugging Face module inside a `TransformerBridge`, whose own forward runs the bridge's components,
so that the user's TransformerLens hooks still fire; and the bridge's tokenizer. Never imports TransformerLens.
"""

from __future__ import annotations

import sys
from typing import Any

from torch import nn

from latentlens.errors import ModelError


def unbridged(module: Any) -> tuple[nn.Module, Any]:
    """The module inside a bridge and the bridge's tokenizer; what is no bridge comes back, without a tokenizer.

    Raises:
        ModelError: a bridge to a model that runs somewhere else, so that there is no module to look into.
    """
    core = sys.modules.get("transformer_lens.model_bridge.bridge_core")
    if core is None or not isinstance(module, core.BridgeCore):
        return module, None
    inner = getattr(module, "original_model", None)
    if not isinstance(inner, nn.Module):
        raise ModelError(
            f"expected a bridge with a torch module inside, got {type(module).__name__} to a model that runs somewhere "
            "else: boot it with TransformerBridge.boot_transformers"
        )
    tokenizer = getattr(module, "tokenizer", None)
    return inner, tokenizer if hasattr(tokenizer, "backend_tokenizer") else None
