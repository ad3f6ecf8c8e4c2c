"""`payloads` and `encoder`: what is fetched of an event's inputs, and what looks at it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from monitor.config.section import SECRET, Section, written
from monitor.config.units import Duration, Size


class HttpPayloads(Section):
    enabled: bool = Field(False, description="Fetch http(s) URIs.")
    hosts: tuple[str, ...] = Field((), description="Host names that may be asked; *.example.com matches subdomains.")
    max_redirects: int = Field(2, ge=0, le=10, description="Redirects followed, each checked like the first address.")
    allow_private: bool = Field(False, description="Allow addresses of private networks and this host.")


class S3Payloads(Section):
    enabled: bool = Field(False, description="Fetch s3:// URIs through an S3-compatible HTTP endpoint.")
    endpoint: str | None = Field(None, description="Endpoint URL, as https://s3.eu-central-1.amazonaws.com.")
    region: str = Field("us-east-1", description="Region used in signatures.")
    buckets: tuple[str, ...] = Field((), description="Buckets that may be read.")
    access_key: str | None = Field(
        None, description="Access key; empty: anonymous.", repr=False, json_schema_extra=SECRET
    )
    secret_key: str | None = Field(
        None, description="Secret key; better as ${NAME} or a *_FILE variable.", repr=False, json_schema_extra=SECRET
    )
    allow_private: bool = Field(False, description="Allow an endpoint in a private network.")


class Payloads(Section):
    """What may be fetched to look at an input."""

    roots: tuple[str, ...] = Field((), description="Folders whose files may be read through file:// URIs.")
    max_bytes: Size = Field(written("20MB"), description="Largest payload read.")
    max_pixels: int = Field(50_000_000, ge=1, description="Largest image decoded, in pixels.")
    timeout: Duration = Field(written("10s"), description="Longest time for one fetch.")
    decoders: int = Field(
        0, ge=0, le=64, description="Processes that decode files; 0: one a processor, at most 4. About 55 MB each."
    )
    decode_memory: Size = Field(
        written("1GB"), description="Address space that decoding one file may take, beyond what a process starts with."
    )
    decode_time: Duration = Field(
        written("5s"),
        description="Processor time that decoding and measuring one image or page may take; most take 0.02 s.",
    )
    http: HttpPayloads = HttpPayloads()
    s3: S3Payloads = S3Payloads()


class OpenClip(Section):
    """Also written as one text, `open_clip: MODEL/PRETRAINED`: the architecture ends at the first slash, everything
    behind it is `pretrained`. ViT-B-32/laion2b_s34b_b79k names a tag, ViT-B-32//models/x.pt the file /models/x.pt,
    ViT-B-32/./x.pt the file ./x.pt."""

    model: str = Field(description="Architecture, as ViT-B-32.")
    pretrained: str | None = Field(
        None,
        description="Tag of published weights, as laion2b_s34b_b79k, fetched before with `driftline encoder pull`; or "
        "a checkpoint file.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where to run.")

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        model, slash, pretrained = value.partition("/")
        if not (model and slash and pretrained):
            raise ValueError(
                f"expected MODEL/PRETRAINED, got {value!r}; write the architecture, a slash, and a tag or the path of "
                "a checkpoint file, as ViT-B-32/laion2b_s34b_b79k or ViT-B-32//models/x.pt"
            )
        return {"model": model, "pretrained": pretrained}


class OnnxPair(Section):
    directory: str = Field(
        description="Folder with image.onnx, text.onnx and encoder.json, as made by `driftline encoder export`."
    )


class Encoder(Section):
    """Which encoder embeds inputs: one of the package's own, or a CLIP of yours by ``onnx`` or ``open_clip``."""

    builtin: Literal["driftline-mini", "features"] = Field(
        "driftline-mini",
        description="Encoder of the package, used with neither of the two below. driftline-mini: small, learned, "
        "images and texts in one space; features: hand-made, nearly twice as fast, no shared space.",
    )
    open_clip: OpenClip | None = Field(
        None, description="An open_clip model (extra `clip`): a section, or MODEL/PRETRAINED in one text."
    )
    onnx: OnnxPair | None = Field(None, description="An exported CLIP pair run by ONNX Runtime.")
    concepts: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="Words that images are compared with beside the shipped ones: a name and phrases that describe "
        "such an image. The name of a shipped one takes other phrases; an empty list leaves it out. Images embedded "
        "before are not compared anew.",
        examples=[{"packing slip": ["a packing slip", "a delivery note that lists parcels"]}],
    )
    cache: str | None = Field(
        None,
        description="Folder for weights that `driftline encoder pull` fetched; default: driftline in the platform's "
        "folder for caches ($XDG_CACHE_HOME or ~/.cache).",
    )
    batch: int = Field(32, ge=1, le=1024, description="Most parts encoded in one call.")
    threads: int = Field(
        0, ge=0, description="Inputs that ONNX Runtime encodes at once, or threads of torch; 0: as many as processors."
    )

    @model_validator(mode="after")
    def _one(self) -> Encoder:
        if self.open_clip and self.onnx:
            raise ValueError("both open_clip and onnx are set; keep one")
        return self
