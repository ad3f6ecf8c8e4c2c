"""Pulled weights: recorded, checked, never fetched unasked. A hub stands in for the real one, over real sockets."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from monitor.cli.encoder import encoder as command
from monitor.config.inputs import Encoder as EncoderConfig
from monitor.embed import checkpoints, encoders
from monitor.embed.encoders.base import EncoderError

open_clip = pytest.importorskip("open_clip", reason="needs open_clip: pip install 'driftline[clip]'")
torch = pytest.importorskip("torch", reason="needs torch: pip install 'driftline[clip]'")

pytestmark = pytest.mark.filterwarnings("default")

MODEL, TAG = "tiny-pulled", "drawn_s1"
SETTINGS = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 1, "layers": 1},
}


class Hub:
    """``files``: path to content; ``asked``: every path that came."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.asked.append(self.path)
                found = hub.files.get(self.path)
                if found is None:
                    self.send_error(404)
                    return
                if "/resolve/" in self.path:  # as the hub does: a redirect that states the digest
                    digest = hashlib.sha256(found).hexdigest()
                    hub.files[f"/store/{digest}"] = found
                    self.send_response(302)
                    self.send_header("location", f"/store/{digest}")
                    self.send_header("x-linked-etag", f'"{digest}"')
                    self.end_headers()
                    return
                self.send_response(200)
                self.send_header("content-length", str(len(found)))
                self.end_headers()
                self.wfile.write(found)

            def do_HEAD(self) -> None:
                hub.asked.append(self.path)
                self.send_error(404)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("model")
    (folder / f"{MODEL}.json").write_text(json.dumps(SETTINGS))
    open_clip.add_model_config(folder / f"{MODEL}.json")
    torch.manual_seed(5)
    model = open_clip.create_model(MODEL)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / "w.safetensors")
    return (folder / "w.safetensors").read_bytes()


@pytest.fixture
def hub(weights: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    found = Hub()
    found.files["/drawn/tiny/resolve/main/open_clip_model.safetensors"] = weights
    found.files["/api/models/drawn/tiny"] = b'{"id": "drawn/tiny", "cardData": {"license": "mit"}}'
    settings = {
        "url": "", "hf_hub": "drawn/tiny/", "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25),
        "interpolation": "bilinear", "resize_mode": "squash", "quick_gelu": True,
    }  # fmt: skip
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, MODEL, {TAG: settings})
    monkeypatch.setenv("HF_ENDPOINT", found.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("DRIFTLINE_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "driftline.yaml").write_text(f"encoder: {{open_clip: {MODEL}/{TAG}, cache: {tmp_path}/cache}}\n")
    yield found
    found.close()


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments))


def load(tmp_path: Path, pretrained: str = TAG, **changes: Any) -> Any:
    settings = {"open_clip": f"{MODEL}/{pretrained}", "cache": str(tmp_path / "cache"), **changes}
    return encoders.load(EncoderConfig.model_validate(settings))


def test_pulled_recorded_and_used(hub: Hub, weights: bytes, tmp_path: Path) -> None:
    done = run("pull", MODEL, TAG)
    assert done.exit_code == 0, done.output
    folder = tmp_path / "cache" / "open_clip" / MODEL / TAG
    record = json.loads((folder / "pulled.json").read_text())
    assert (folder / record["weights"]).read_bytes() == weights
    assert record["licence"] == "mit" and (record["model"], record["pretrained"]) == (MODEL, TAG)
    assert record["files"] == {
        "open_clip_model.safetensors": {
            "sha256": hashlib.sha256(weights).hexdigest(),
            "bytes": len(weights),
            "source": f"{hub.url}/drawn/tiny/resolve/main/open_clip_model.safetensors",
        }
    }
    assert hashlib.sha256(weights).hexdigest() in done.output and "licence mit" in done.output
    assert sorted(path.name for path in folder.iterdir()) == ["open_clip_model.safetensors", "pulled.json"]
    # A second pull looks at what is there and asks nobody.
    hub.asked.clear()
    again = run("pull", MODEL, TAG)
    assert again.exit_code == 0 and "already in" in again.output and hub.asked == []
    # The preprocessing and the activation are those of the tag, by its name as by its file.
    found = load(tmp_path)
    assert found.preprocessing.resize_mode == "squash" and found.preprocessing.mean == (0.5, 0.5, 0.5)
    assert "QuickGELU" in str(found.model.visual) and f"{MODEL}+quickgelu:" in found.identity
    assert load(tmp_path, str(folder / "open_clip_model.safetensors")).identity == found.identity
    assert hub.asked == []


def test_nothing_is_fetched_unasked(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connected: list[object] = []

    def refuse(self: socket.socket, address: object) -> None:
        connected.append(address)
        raise OSError("refused by the test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(EncoderError, match=f"driftline encoder pull {MODEL} {TAG}"):
        load(tmp_path)
    with pytest.raises(EncoderError, match=r"driftline encoder pull ViT-B-32 laion2b_s34b_b79k"):
        load(tmp_path, open_clip="ViT-B-32/laion2b_s34b_b79k")
    for name in ("hf-hub:timm", "hf-hub:org/model"):
        with pytest.raises(EncoderError, match="would be fetched whenever it is loaded"):
            load(tmp_path, open_clip={"model": name, "pretrained": "x"})
    # SigLIP's own tokenizer is on the hub, and is not fetched either.
    torch.save({}, tmp_path / "x.pt")
    with pytest.raises(EncoderError, match="cannot load ViT-B-16-SigLIP"):
        load(tmp_path, open_clip={"model": "ViT-B-16-SigLIP", "pretrained": str(tmp_path / "x.pt")})
    # What open_clip and transformers ask for by themselves is looked for on disk alone.
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    from monitor.embed.encoders.open_clip import _no_network

    with pytest.raises(LocalEntryNotFoundError), _no_network():
        hf_hub_download("timm/ViT-B-16-SigLIP", "tokenizer.json", cache_dir=tmp_path / "hub")
    assert connected == [] and hub.asked == []
    monkeypatch.undo()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(LocalEntryNotFoundError):  # it would be asked for otherwise
        hf_hub_download("timm/ViT-B-16-SigLIP", "tokenizer.json", cache_dir=tmp_path / "hub", endpoint=hub.url)
    assert hub.asked != []


def test_changed_and_missing_files(hub: Hub, weights: bytes, tmp_path: Path) -> None:
    assert run("pull", MODEL, TAG).exit_code == 0
    folder = tmp_path / "cache" / "open_clip" / MODEL / TAG
    file = folder / "open_clip_model.safetensors"
    with file.open("r+b") as changed:
        changed.seek(-4, 2)
        changed.write(b"\0\1\2\3")
    with pytest.raises(EncoderError, match="not the file that was pulled: sha256"):
        load(tmp_path)
    done = run("verify")
    assert done.exit_code == 1 and "not the file that was pulled" in done.output
    assert run("verify", str(folder)).exit_code == 1
    assert run("pull", MODEL, TAG).exit_code == 0 and file.read_bytes() == weights  # put right
    done = run("verify", str(folder))
    assert done.exit_code == 0, done.output
    assert "images: 8 unit vectors" in done.output and "texts: 8 unit vectors" in done.output
    file.unlink()
    with pytest.raises(EncoderError, match="is gone; pull again"):
        load(tmp_path)
    done = run("pull", MODEL, TAG, "--offline")
    assert done.exit_code == 1 and "is gone; pull again" in done.output
    (folder / "pulled.json").write_text("{}")
    with pytest.raises(EncoderError, match="cannot be read"):
        load(tmp_path)


def test_a_pull_that_was_cut_off_leaves_nothing_to_use(hub: Hub, weights: bytes, tmp_path: Path) -> None:
    """The hub says one digest and sends other bytes, as a connection through a broken proxy does."""
    path = "/drawn/tiny/resolve/main/open_clip_model.safetensors"
    hub.files[path] = weights
    real = hashlib.sha256(weights).hexdigest()
    folder = tmp_path / "cache" / "open_clip" / MODEL / TAG

    class Cut(dict[str, bytes]):
        def get(self, key: str, default: Any = None) -> Any:
            return weights[:1000] if key == f"/store/{real}" else super().get(key, default)

    kept, hub.files = hub.files, Cut(hub.files)
    done = run("pull", MODEL, TAG)
    assert done.exit_code == 1 and "thrown away, try again" in done.output
    assert not (folder / "pulled.json").exists() and not (folder / "open_clip_model.safetensors").exists()
    with pytest.raises(EncoderError, match="driftline encoder pull"):
        load(tmp_path)
    hub.files = kept
    assert run("pull", MODEL, TAG).exit_code == 0
    assert load(tmp_path).dim == 32


def test_offline(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run("pull", MODEL, TAG, "--offline")
    assert done.exit_code == 1 and "offline (HF_HUB_OFFLINE or --offline)" in done.output
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = run("pull", MODEL, TAG)
    assert done.exit_code == 1 and "copy the folder here" in done.output
    assert hub.asked == []
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert run("pull", MODEL, TAG).exit_code == 0
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "already in" in run("pull", MODEL, TAG).output


def test_a_folder_of_ones_own(hub: Hub, tmp_path: Path) -> None:
    out = tmp_path / "b"
    done = run("pull", MODEL, TAG, "--out", str(out))
    assert done.exit_code == 0, done.output
    shorthand = done.output.split("open_clip: ")[1].strip()
    assert shorthand == f"{MODEL}/{out}/open_clip_model.safetensors"
    found = encoders.load(EncoderConfig.model_validate({"open_clip": shorthand}))
    assert found.preprocessing.resize_mode == "squash"  # type: ignore[attr-defined]
    # What another model needs is not written over.
    done = run("pull", "ViT-B-32", "openai", "--out", str(out))
    assert done.exit_code == 1 and f"holds {MODEL}/{TAG}; choose another folder" in done.output


def test_a_folder_that_cannot_be_made_is_told(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("pull", MODEL, TAG, "--out", "file/below")
    assert done.exit_code == 1 and "file/below cannot be written: Not a directory" in done.output
    assert run("pull", MODEL, TAG).exit_code == 0
    done = run("export", MODEL, TAG, "--out", "file/below")
    assert done.exit_code == 1 and "file/below cannot be written" in done.output


def test_pulled_then_exported(hub: Hub, tmp_path: Path) -> None:
    done = run("export", MODEL, TAG, "--out", "pair")
    assert done.exit_code == 1 and f"driftline encoder pull {MODEL} {TAG}" in done.output
    assert run("pull", MODEL, TAG).exit_code == 0
    done = run("export", MODEL, TAG, "--out", "pair")
    assert done.exit_code == 0, done.output
    sidecar = json.loads((tmp_path / "pair" / "encoder.json").read_text())
    assert sidecar["image"]["resize_mode"] == "squash"
    assert run("verify", "pair").exit_code == 0


def test_a_file_of_unknown_origin_is_prepared_as_all_tags_of_its_architecture(
    hub: Hub, weights: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.safetensors").write_bytes(weights)
    found = load(tmp_path, str(tmp_path / "mine.safetensors"))
    assert (found.preprocessing.resize_mode, found.preprocessing.mean) == ("squash", (0.5, 0.5, 0.5))
    assert "QuickGELU" not in str(found.model.visual)  # how it was trained is not known
    assert run("pull", MODEL, TAG).exit_code == 0
    pulled = load(tmp_path)
    assert pulled.weights_digest == found.weights_digest and pulled.identity != found.identity
    tags = open_clip.pretrained._PRETRAINED[MODEL]
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, MODEL, {**tags, "x": {**tags[TAG], "resize_mode": "longest"}})
    found = load(tmp_path, str(tmp_path / "mine.safetensors"))
    assert (found.preprocessing.resize_mode, found.preprocessing.mean) == ("shortest", (0.5, 0.5, 0.5))


def test_refusals(hub: Hub, tmp_path: Path) -> None:
    for model, tag, message in (
        (MODEL, "other", f"its tags are {TAG}"),
        ("no-such", TAG, "`driftline encoder list` shows"),
        ("../x", TAG, "is no name"),
        ("xlm-roberta-base-ViT-B-32", "laion5b_s13b_b90k", "which are not pulled"),
    ):
        done = run("pull", model, tag)
        assert done.exit_code == 1 and message in done.output, done.output
    hub.files.clear()
    done = run("pull", MODEL, TAG)
    assert done.exit_code == 1 and "fetch the file and give its path" in done.output
    assert hub.asked[-2:] == [
        "/drawn/tiny/resolve/main/open_clip_model.safetensors",
        "/drawn/tiny/resolve/main/open_clip_pytorch_model.bin",
    ]


def test_the_tokenizer_comes_too(hub: Hub, weights: bytes, tmp_path: Path) -> None:
    """Of a model whose tokenizer is not CLIP's: what there is of its files, of which tokenizer.json must be."""
    hub.files["/timm/ViT-B-16-SigLIP/resolve/main/open_clip_model.safetensors"] = weights
    done = run("pull", "ViT-B-16-SigLIP", "webli")
    assert done.exit_code == 1 and "tokenizer.json: there is no such file" in done.output
    hub.files["/timm/ViT-B-16-SigLIP/resolve/main/tokenizer.json"] = b"{}"
    hub.files["/timm/ViT-B-16-SigLIP/resolve/main/tokenizer_config.json"] = b"{}"
    done = run("pull", "ViT-B-16-SigLIP", "webli")
    assert done.exit_code == 0, done.output
    folder = tmp_path / "cache" / "open_clip" / "ViT-B-16-SigLIP" / "webli"
    record = checkpoints.record_of(folder)
    assert record is not None and record.licence is None
    assert sorted(record.files) == ["open_clip_model.safetensors", "tokenizer.json", "tokenizer_config.json"]


def test_list(hub: Hub, tmp_path: Path) -> None:
    assert run("pull", MODEL, TAG).exit_code == 0
    found = json.loads(run("list", "--json").stdout)
    assert [row["name"] for row in found["builtin"]] == ["driftline-mini", "features"]
    assert [(row["name"], row["licence"]) for row in found["pulled"]] == [(f"{MODEL}/{TAG}", "mit")]
    assert found["open_clip"][MODEL] == {"tags": [TAG], "pulled": [TAG], "exports": True}
    assert "laion2b_s34b_b79k" in found["open_clip"]["ViT-B-32"]["tags"]
    for name in ("convnext_base", "ViT-B-16-SigLIP", "ViT-B-16-SigLIP2"):
        assert found["open_clip"][name]["exports"], name
    for name in ("ViT-L-14-CLIPA", "xlm-roberta-base-ViT-B-32"):
        assert not found["open_clip"][name]["exports"], name
    text = run("list").stdout
    assert f"  {MODEL}/{TAG}  " in text and f"  {MODEL}: {TAG}\n" in text
