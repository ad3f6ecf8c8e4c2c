"""open_clip for real, with a small architecture and random weights in a file; needs the extra `clip`."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from monitor.config.inputs import Encoder as EncoderConfig
from monitor.embed import encoders
from monitor.embed.encoders.base import EncoderError
from tests.embed.tiny_models import SIGMOID_TEXT, SIGMOID_VISION

open_clip = pytest.importorskip("open_clip", reason="needs open_clip: pip install 'driftline[clip]'")
torch = pytest.importorskip("torch", reason="needs torch: pip install 'driftline[clip]'")

pytestmark = pytest.mark.filterwarnings("default")  # torch and its exporter warn about their own insides

ARCHITECTURES = {
    "tiny-vit": {
        "embed_dim": 64,
        "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
    },
    # As SigLIP: sigmoid loss with a bias, a timm tower with attention pooling, a text tower that sees both ways.
    # SigLIP's tokenizer is on a hub; here it has CLIP's (test_hub_tokenizer.py has one of SigLIP's kind).
    "tiny-sigmoid": {
        "embed_dim": 96,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": SIGMOID_VISION,
        "text_cfg": {
            "context_length": 64,
            "vocab_size": 49408,
            "width": 64,
            **SIGMOID_TEXT,
            "act_kwargs": {"approximate": "tanh"},
        },
    },
    "tiny-convnext": {
        "embed_dim": 64,
        "vision_cfg": {
            "image_size": 160,
            "timm_model_name": "test_convnext",
            "timm_model_pretrained": False,
            "timm_pool": "",
            "timm_proj": "linear",
        },
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
    },
    "tiny-squash": {
        "embed_dim": 64,
        "vision_cfg": {"image_size": 64, "layers": 1, "width": 64, "head_width": 32, "patch_size": 16},
        "text_cfg": {
            "context_length": 32,
            "vocab_size": 49408,
            "width": 64,
            "heads": 2,
            "layers": 1,
            "tokenizer_kwargs": {"clean": "canonicalize"},
        },
    },
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    found = {}
    for name, settings in ARCHITECTURES.items():
        (folder / f"{name}.json").write_text(json.dumps(settings))
        open_clip.add_model_config(folder / f"{name}.json")
        torch.manual_seed(3)
        model = open_clip.create_model(name)
        torch.save(model.state_dict(), folder / f"{name}.pt")
        found[name] = folder / f"{name}.pt"
    return found


def load(checkpoint: Path, model: str = "tiny-vit", **changes: Any) -> encoders.Encoder:
    return encoders.load(
        EncoderConfig.model_validate({"open_clip": {"model": model, "pretrained": str(checkpoint)}, **changes})
    )


def pages() -> list[Image.Image]:
    from monitor.embed.probes import probe_pages

    return [*probe_pages(), Image.new("RGB", (400, 30), "white"), Image.new("RGB", (1, 1))]


def test_vectors_and_identity(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    encoder = load(checkpoints["tiny-vit"])
    assert encoder.shared_space and encoder.dim == 64
    assert encoder.identity.startswith("open_clip:tiny-vit:")
    vectors = encoder.encode_images(pages())
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    one_by_one = np.concatenate([encoder.encode_images([page]) for page in pages()])
    np.testing.assert_allclose(vectors, one_by_one, atol=1e-5)
    assert encoder.encode_texts([]).shape == (0, 64)
    # The digest is of the weights, not of the file.
    state = torch.load(checkpoints["tiny-vit"])
    torch.save({"epoch": 1, "state_dict": state}, tmp_path / "again.pt")
    assert load(tmp_path / "again.pt").identity == encoder.identity
    state["logit_scale"] += 1
    torch.save(state, tmp_path / "other.pt")
    assert load(tmp_path / "other.pt").identity != encoder.identity


def test_preprocessing_is_open_clips(checkpoints: dict[str, Path]) -> None:
    encoder = load(checkpoints["tiny-vit"])
    settings = open_clip.transform.PreprocessCfg(**encoder.model.visual.preprocess_cfg)  # type: ignore[attr-defined]
    theirs = open_clip.transform.image_transform_v2(settings, is_train=False)
    for page in pages()[:8]:
        ours = encoder.preprocessing(page)  # type: ignore[attr-defined]
        np.testing.assert_allclose(ours, theirs(page).numpy(), atol=1e-6)


def test_tokens_are_open_clips() -> None:
    from monitor.embed.encoders.clip_tokens import ClipTokenizer

    theirs, ours = open_clip.get_tokenizer("ViT-B-32"), ClipTokenizer(open_clip.tokenizer.default_bpe())
    rng = random.Random(3)
    alphabet = "abc déß 12'.,!?-_漢字 é😀\n½²Ⅷ١"
    texts = ["".join(rng.choice(alphabet) for _ in range(60)) for _ in range(300)]
    texts += [
        "it'S DON'T we'LL <b>x</b> &amp; “quoted” ﬁne ＡＢＣ",
        "",
        "word " * 200,
        "<start_of_text> x <end_of_text>",
    ]
    for text in texts:
        assert theirs([text]).tolist() == ours([text]).tolist(), text


@pytest.mark.parametrize(("int8", "least"), [(False, 0.999), (True, 0.99)], ids=["fp32", "int8"])
@pytest.mark.parametrize("name", ["tiny-vit", "tiny-sigmoid", "tiny-convnext"])
def test_export_to_onnx(checkpoints: dict[str, Path], tmp_path: Path, name: str, int8: bool, least: float) -> None:
    from monitor.cli.encoder import encoder as command
    from monitor.embed.probes import measure_parity

    out = tmp_path / "pair"
    arguments = ["export", name, str(checkpoints[name]), "--out", str(out), *(["--int8"] if int8 else [])]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "cosine" in result.output
    exported = encoders.load(EncoderConfig.model_validate({"onnx": {"directory": str(out)}}))
    original = load(checkpoints[name], name)
    texts = ["one text", "zwei Texte", ""]
    parity = measure_parity(original, exported, pages(), texts)
    assert parity.image_min >= least and parity.text_min >= least
    for row, page in zip(exported.encode_images(pages()), pages(), strict=True):
        np.testing.assert_array_equal(row, exported.encode_images([page])[0])
    if not int8:
        # Random towers give similar vectors to everything: a cosine alone would not show much.
        for ours, theirs in (
            (exported.encode_images(pages()), original.encode_images(pages())),
            (exported.encode_texts(texts), original.encode_texts(texts)),
        ):
            np.testing.assert_allclose(ours, theirs, atol=1e-4)
    # How the model reads a cosine goes with it.
    sidecar = json.loads((out / "encoder.json").read_text())
    assert sidecar["logit_bias"] == (-10 if name == "tiny-sigmoid" else None)
    assert sidecar["logit_scale"] == pytest.approx(1 / 0.07, rel=1e-5)
    words = "by sigmoid of 14.2857 x cosine -10" if name == "tiny-sigmoid" else "by softmax of 14.2857 x cosine"
    assert exported.description.endswith(words) and original.description.endswith(words)
    verified = CliRunner().invoke(command, ["verify", str(out)])
    assert verified.exit_code == 0 and "recorded vectors: 16 are the same to the bit" in verified.output
    again = CliRunner().invoke(command, arguments)
    assert again.exit_code == 1 and "not an empty folder" in again.output


def test_what_is_too_far_from_torch_is_refused(
    checkpoints: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quantisation that does harm: here of nearly all that the weights say."""
    import onnx

    from monitor.cli.encoder import encoder as command
    from monitor.embed import export as exporting

    def harm(path: Path) -> None:
        model = onnx.load(path)
        for tensor in model.graph.initializer:
            values = onnx.numpy_helper.to_array(tensor)
            if values.ndim > 1 and values.dtype == np.float32:
                tensor.CopyFrom(onnx.numpy_helper.from_array(np.sign(values) * np.float32(0.05), tensor.name))
        onnx.save(model, path)

    monkeypatch.setattr(exporting, "quantise", harm)
    out = tmp_path / "pair"
    arguments = ["export", "tiny-vit", str(checkpoints["tiny-vit"]), "--out", str(out), "--int8"]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 1 and "int8 towers of tiny-vit are too far from torch: the lowest" in result.output
    assert "expected at least 0.99; export without --int8" in result.output
    assert list(tmp_path.iterdir()) == []
    result = CliRunner().invoke(command, [*arguments, "--force"], catch_exceptions=False)
    assert result.exit_code == 0
    parity = json.loads((out / "encoder.json").read_text())["parity"]
    assert min(parity["image_min"], parity["text_min"]) < 0.99


@pytest.mark.parametrize(("int8", "least"), [(False, 0.999), (True, 0.99)], ids=["fp32", "int8"])
def test_export_in_full_size(tmp_path: Path, int8: bool, least: float) -> None:
    """ViT-B-32 as published (151 million weights), with random ones saved to a file."""
    from monitor.embed.export import export

    torch.manual_seed(3)
    torch.save(open_clip.create_model("ViT-B-32").state_dict(), tmp_path / "b32.pt")
    done = export("ViT-B-32", str(tmp_path / "b32.pt"), tmp_path / "pair", int8=int8)
    assert (done.parity.images, done.parity.texts) == (8, 8)
    assert done.parity.image_min >= least and done.parity.text_min >= least
    assert done.megabytes < (260 if int8 else 640)


def test_refusals(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    from monitor.embed.export import export

    with pytest.raises(EncoderError, match="there is no file"):
        load(tmp_path / "nothing.pt")
    with pytest.raises(EncoderError, match="random weights"):
        encoders.load(EncoderConfig.model_validate({"open_clip": {"model": "tiny-vit"}}))
    with pytest.raises(EncoderError, match="cannot load no-such-model"):
        load(checkpoints["tiny-vit"], model="no-such-model")
    if not torch.cuda.is_available():
        with pytest.raises(EncoderError, match="sees no GPU"):
            settings = {"model": "tiny-vit", "pretrained": str(checkpoints["tiny-vit"]), "device": "cuda"}
            encoders.load(EncoderConfig.model_validate({"open_clip": settings}))
    with pytest.raises(EncoderError, match="not one whose ids can be had without torch"):
        export("tiny-squash", str(checkpoints["tiny-squash"]), tmp_path / "out")
    assert not (tmp_path / "out").exists()
