"""Images against words: the order of the concepts, what is stored of it, and how often notation is told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from monitor.cli.encoder import encoder
from monitor.embed.concepts import DOCUMENTS, NOTATION, ConceptBank, with_shipped
from monitor.embed.encoders.features import FeatureEncoder
from monitor.embed.encoders.mini import MiniEncoder
from monitor.embed.images import Decoded, decode
from monitor.embed.probes import probe_pages
from monitor.embed.worker import EmbedWorker
from monitor.store.engine import open_store
from tests.data import shared_data
from tests.embed.test_worker import TEXT, PairEncoder, config, everything, finish, inline, jpeg, put
from training.split import read

COLOURS = {"warm": ("red", "red"), "leaf": ("green",), "sky": ("blue",), "sea": ("green blue", "blue green")}


def test_the_nearest_words_come_first_whatever_else_is_asked() -> None:
    pair = PairEncoder()
    bank = ConceptBank(pair, COLOURS, kept=2)
    images = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue", "cyan", "aqua")]
    vectors = pair.encode_images(images)
    told = bank.nearest(vectors)
    assert [names[0][0] for names in told] == ["warm", "leaf", "sky", "sea", "sea"]
    assert all(len(names) == 2 and names[0][1] >= names[1][1] for names in told)
    assert told == [bank.nearest(vector[None])[0] for vector in vectors]
    assert told[0][0][1] == pytest.approx(1.0, abs=0.01)


def test_a_concept_is_the_mean_of_its_prompts() -> None:
    pair = PairEncoder()
    both = ConceptBank(pair, {"both": ("red", "blue")})
    purple = pair.encode_images([Image.new("RGB", (8, 8), "magenta")])
    assert both.nearest(purple)[0][0][1] == pytest.approx(1.0, abs=0.01)


def test_words_of_the_configuration_join_the_shipped_ones(tmp_path: Path) -> None:
    chosen = with_shipped({"packing slip": ("a packing slip",), "receipt": ("red",), "slide": ()})
    assert chosen["packing slip"] == ("a packing slip",)
    assert chosen["receipt"] == ("red",)
    assert set(chosen) == {*DOCUMENTS, *NOTATION, "packing slip"} - {"slide"}
    with pytest.raises(ValueError, match="keep at least one"):
        with_shipped(dict.fromkeys((*DOCUMENTS, *NOTATION), ()))
    store = open_store(f"sqlite:///{tmp_path}/driftline.db")
    put(store, [[inline(jpeg(probe_pages()[0])), TEXT]])
    every = dict.fromkeys((*DOCUMENTS, *NOTATION), ())
    finish(EmbedWorker(store, config(encoder={"concepts": {**every, "mine": ["red"]}}), PairEncoder()))
    (image,) = [json.loads(part[4]) for part in everything(store)[1] if "concepts" in part[4]]
    store.close()
    assert image["concepts"]["nearest"][0][0] == "mine"
    # What other words found is never compared with it.
    assert len(image["concepts"]["words"]) == 12


def test_an_encoder_without_a_shared_space_is_refused() -> None:
    with pytest.raises(ValueError, match="choose driftline-mini"):
        ConceptBank(FeatureEncoder())


def test_concepts_are_stored_where_they_can_be_measured(tmp_path: Path) -> None:
    stored = {}
    for chosen in (PairEncoder(), FeatureEncoder()):
        store = open_store(f"sqlite:///{tmp_path}/{chosen.shared_space}.db")
        put(store, [[inline(jpeg(probe_pages()[0])), TEXT]])
        finish(EmbedWorker(store, config(), chosen))
        _, parts, _ = everything(store)
        stored[chosen.shared_space] = [json.loads(part[4]) for part in parts]
        store.close()
    image, text = stored[True]
    assert image["concepts"]["v"] == 1 and len(image["concepts"]["nearest"]) == 3
    assert {name for name, _ in image["concepts"]["nearest"]} <= {*DOCUMENTS, *NOTATION}
    assert "concepts" not in text
    assert all("concepts" not in found for found in stored[False])


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("driftline.yaml").write_text("encoder: {builtin: driftline-mini}\n")
    Path("features.yaml").write_text("encoder: {builtin: features}\n")
    Path("page.jpg").write_bytes(jpeg(probe_pages()[0]))
    Path("broken.jpg").write_bytes(b"no image")
    Path("prompt.txt").write_text("words")
    runner = CliRunner()
    shown = runner.invoke(encoder, ["concepts", "page.jpg"])
    assert shown.exit_code == 0, shown.output
    lines = shown.stdout.splitlines()
    assert lines[0] == "page.jpg" and len(lines) == 6
    cosines = [float(line.split()[0]) for line in lines[1:]]
    assert cosines == sorted(cosines, reverse=True)
    own = runner.invoke(encoder, ["concepts", "--json", "--word", "a lorry", "--word", "a letter", "page.jpg"])
    assert {name for name, _ in json.loads(own.stdout)["conditions"]["concepts"]["nearest"]} == {"a lorry", "a letter"}
    broken = runner.invoke(encoder, ["concepts", "page.jpg", "broken.jpg"])
    assert broken.exit_code == 1 and "missing     image_unknown_format" in broken.output
    refused = runner.invoke(encoder, ["concepts", "--config", "features.yaml", "page.jpg"])
    assert refused.exit_code == 1 and "choose driftline-mini" in refused.output
    empty = runner.invoke(encoder, ["concepts", "--word", " ", "page.jpg"])
    assert empty.exit_code == 1 and "--word is empty" in empty.output
    assert "give images or PDFs" in runner.invoke(encoder, ["concepts", "prompt.txt"]).output


def test_notation_is_told_on_real_pages() -> None:
    """The figures of docs/encoders.md, on pages that driftline-mini was never trained on."""
    root = shared_data("images")
    mini = MiniEncoder()
    bank = ConceptBank(mini)
    counted: dict[str, list[bool]] = {}
    for row in read(root):
        if row.side != "evaluate":
            continue
        found = decode((root / row.file).read_bytes(), 50_000_000, mini.side)
        assert isinstance(found, Decoded)
        nearest = bank.nearest(mini.encode_images([found.image]))[0][0][0]
        counted.setdefault(row.kind, []).append(nearest in NOTATION)
    truth = {"math_diagrams", "olmocr_arxiv_math", "olmocr_old_scans_math"}
    assert truth < set(counted)
    told = np.concatenate([counted[kind] for kind in truth])
    mistaken = np.concatenate([found for kind, found in counted.items() if kind not in truth])
    assert told.mean() > 0.8, told.mean()
    assert mistaken.mean() < 0.06, mistaken.mean()
