"""What small models of two tests have in common."""

from __future__ import annotations

from typing import Any

# As SigLIP: a timm tower with attention pooling, a text tower that sees both ways and is read at its end.
SIGMOID_VISION: dict[str, Any] = {
    "image_size": 160,
    "timm_model_name": "test_vit3",
    "timm_model_pretrained": False,
    "timm_pool": "map",
    "timm_proj": "none",
}
SIGMOID_TEXT: dict[str, Any] = {
    "heads": 2,
    "layers": 2,
    "no_causal_mask": True,
    "proj_bias": True,
    "pool_type": "last",
    "norm_kwargs": {"eps": 1e-6},
}
