"""A model as SigLIP's: sigmoid loss with a bias, and a tokenizer of the Hugging Face kind; needs the extra `clip`.

SigLIP's own tokenizer is on a hub. Here a small one of its kind is trained (unigrams over sentence pieces, padded by
id 1, nothing before a text), and loaded by the same classes.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from monitor.config.inputs import Encoder as EncoderConfig
from monitor.embed import encoders
from monitor.embed.encoders.base import EncoderError
from monitor.embed.encoders.hub_tokens import HubTokenizer
from monitor.embed.probes import PROBE_TEXTS, measure_parity, probe_pages
from tests.embed.tiny_models import SIGMOID_TEXT, SIGMOID_VISION

open_clip = pytest.importorskip("open_clip", reason="needs open_clip: pip install 'driftline[clip]'")
torch = pytest.importorskip("torch", reason="needs torch: pip install 'driftline[clip]'")
tokenizers = pytest.importorskip("tokenizers", reason="needs tokenizers: pip install 'driftline[clip]'")
pytest.importorskip("transformers", reason="needs transformers: pip install 'driftline[clip]'")

pytestmark = pytest.mark.filterwarnings("default")

MODEL, LENGTH = "tiny-sigmoid-hub", 24
SETTINGS = {
    "embed_dim": 96,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": SIGMOID_VISION,
    "text_cfg": {
        "context_length": LENGTH,
        "vocab_size": 400,
        "hf_tokenizer_name": "drawn/tokenizer",
        "tokenizer_kwargs": {"clean": "canonicalize"},
        "width": 96,
        **SIGMOID_TEXT,
    },
}
TEXTS = [
    *PROBE_TEXTS,
    "Total: 12,50 EUR_net (incl. VAT)!",
    "a photo of a DOG",
    "ＡＢＣ “quoted” &amp; <b>ﬁne</b>",
    "naïve café, x^2",
    "word " * 60,
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint and tokenizer, side by side as `driftline encoder pull` leaves them."""
    found = tmp_path_factory.mktemp("sigmoid")
    trained = tokenizers.Tokenizer(tokenizers.models.Unigram())
    trained.normalizer = tokenizers.normalizers.NFKC()
    trained.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    trained.decoder = tokenizers.decoders.Metaspace()
    corpus = [text.lower() for text in [*TEXTS, "the quick brown fox jumps over the lazy dog and signs the contract"]]
    trainer = tokenizers.trainers.UnigramTrainer(
        vocab_size=300, special_tokens=["<unk>", "<pad>", "</s>"], unk_token="<unk>", show_progress=False
    )
    trained.train_from_iterator(corpus, trainer)
    end = ("</s>", trained.token_to_id("</s>"))
    trained.post_processor = tokenizers.processors.TemplateProcessing(single="$A </s>", special_tokens=[end])
    trained.save(str(found / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
    }
    (found / "tokenizer_config.json").write_text(json.dumps(settings))
    (found / f"{MODEL}.json").write_text(json.dumps(SETTINGS))
    open_clip.add_model_config(found / f"{MODEL}.json")
    torch.manual_seed(8)
    torch.save(open_clip.create_model(MODEL).state_dict(), found / "weights.pt")
    return found


def load(folder: Path, **changes: Any) -> Any:
    return encoders.load(EncoderConfig.model_validate({"open_clip": f"{MODEL}/{folder}/weights.pt", **changes}))


def test_the_tokenizer_beside_the_checkpoint_is_used(folder: Path) -> None:
    encoder = load(folder)
    assert type(encoder.tokenizer).__name__ == "HFTokenizer"
    ids = encoder.tokenizer(["a photo of a dog", ""]).numpy()
    assert ids.shape == (2, LENGTH) and ids[1].tolist() == [2, *[1] * (LENGTH - 1)]  # the end, and padding
    assert encoder.logit_bias == -10 and "sigmoid" in encoder.description


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("T5Tokenizer", {"extra_ids": 0, "pad_token": "</s>"}),  # SigLIP
        ("GemmaTokenizer", {"add_bos_token": False, "add_eos_token": True, "padding_side": "right"}),  # SigLIP 2
    ],
)
def test_ids_are_those_of_the_classes_that_siglip_uses(
    folder: Path, tmp_path: Path, name: str, settings: dict[str, Any]
) -> None:
    shutil.copyfile(folder / "tokenizer.json", tmp_path / "tokenizer.json")
    described = {"tokenizer_class": name, "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", **settings}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(described))
    theirs = open_clip.tokenizer.HFTokenizer(str(tmp_path), context_length=LENGTH, clean="canonicalize")
    assert type(theirs.tokenizer).__name__ == name
    expected = theirs(TEXTS).numpy()
    (tmp_path / "out.json").write_text(theirs.tokenizer.backend_tokenizer.to_str())
    np.testing.assert_array_equal(HubTokenizer(tmp_path / "out.json", LENGTH, "canonicalize")(TEXTS), expected)


@pytest.mark.parametrize(("int8", "least"), [(False, 0.999), (True, 0.99)])
def test_export(folder: Path, tmp_path: Path, int8: bool, least: float) -> None:
    from monitor.cli.encoder import encoder as command

    out = tmp_path / "pair"
    arguments = ["export", MODEL, str(folder / "weights.pt"), "--out", str(out), *(["--int8"] if int8 else [])]
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 0, done.output
    sidecar = json.loads((out / "encoder.json").read_text())
    assert sidecar["text"] == {
        "context_length": LENGTH,
        "tokenizer": "hub_json",
        "file": "tokenizer.json",
        "cleaning": "canonicalize",
    }
    assert sidecar["logit_bias"] == -10 and sidecar["logit_scale"] == pytest.approx(14.285714)
    original = load(folder)
    carried = HubTokenizer(out / "tokenizer.json", LENGTH, "canonicalize")
    np.testing.assert_array_equal(carried(TEXTS), original.tokenizer(TEXTS).numpy())
    exported = encoders.load(EncoderConfig.model_validate({"onnx": {"directory": str(out)}}))
    assert "sigmoid of 14.2857 x cosine -10" in exported.description
    parity = measure_parity(original, exported, probe_pages(), TEXTS)
    assert parity.image_min >= least and parity.text_min >= least
    assert CliRunner().invoke(command, ["verify", str(out)]).exit_code == 0


def test_refusals(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="cleaning 'x' is not known"):
        HubTokenizer(folder / "tokenizer.json", LENGTH, "x")
    with pytest.raises(EncoderError, match=f"does not cut and fill to {LENGTH} ids"):
        HubTokenizer(folder / "tokenizer.json", LENGTH, "lower")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(EncoderError, match="is no tokenizer"):
        HubTokenizer(tmp_path / "tokenizer.json", LENGTH, "lower")
    (tmp_path / "weights.pt").write_bytes((folder / "weights.pt").read_bytes())
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(EncoderError, match=r"needs its tokenizer\.json beside the checkpoint"):
        load(tmp_path)
