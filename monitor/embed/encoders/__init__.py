"""Encoders: one interface, four implementations (features, driftline-mini, ONNX pair, open_clip)."""

from __future__ import annotations

from pathlib import Path

from monitor.config.inputs import Encoder as EncoderConfig
from monitor.embed.encoders.base import Encoder, EncoderError


def load(config: EncoderConfig) -> Encoder:
    """The configured encoder, ready to use.

    With neither ``open_clip`` nor ``onnx`` configured this is the package's own that ``builtin`` names. Raises
    EncoderError when files are missing or changed, an extra is not installed, or a model is of a kind that is not
    supported.
    """
    # Imported here, because each implementation brings an engine that the others do without.
    if config.open_clip is not None:
        from monitor.embed.encoders.open_clip import OpenClipEncoder

        return OpenClipEncoder(
            config.open_clip.model,
            config.open_clip.pretrained,
            device=config.open_clip.device,
            batch=config.batch,
            threads=config.threads,
            cache=config.cache,
        )
    if config.onnx is not None:
        from monitor.embed.encoders.mini import FORMER_TOKENIZERS, TOKENIZER, MiniEncoder
        from monitor.embed.encoders.onnx_pair import OnnxPairEncoder, tokenizer_of

        folder = Path(config.onnx.directory).expanduser()
        if tokenizer_of(folder) in (TOKENIZER, *FORMER_TOKENIZERS):
            return MiniEncoder(folder, threads=config.threads)
        return OnnxPairEncoder(folder, threads=config.threads)
    if config.builtin == "driftline-mini":
        from monitor.embed.encoders.mini import MiniEncoder

        return MiniEncoder(threads=config.threads)
    from monitor.embed.encoders.features import FeatureEncoder

    return FeatureEncoder()


__all__ = ["Encoder", "EncoderError", "load"]
