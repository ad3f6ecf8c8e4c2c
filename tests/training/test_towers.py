"""The towers as they are trained and exported (needs the extra ``train``: runs in .venv-train)."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="needs the extra `train`: make train-encoder makes .venv-train")
pytest.importorskip("open_clip", reason="needs the extra `train`")

from monitor.embed.encoders.mini import FOLDER, MiniEncoder  # noqa: E402
from monitor.embed.encoders.text_tower import TextTower  # noqa: E402
from monitor.embed.encoders.wordpiece import WordPiece  # noqa: E402
from training import captions, distil, export, fonts, losses, samples, shards, text_model, train  # noqa: E402
from training.documents import catalogue  # noqa: E402
from training.fused import Fused, from_blocks, to_blocks  # noqa: E402
from training.model import HEIGHT, KEPT, MEASURED, SHARE, WIDTH, Heads, ImageTower, Measured  # noqa: E402

KINDS, DRAWN = len(captions.GENERATED) + len(captions.REAL), len(captions.GENERATED)


def filters() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    made = rng.normal(size=(2, 128, 64)).astype(np.float32)
    made -= made.mean(2, keepdims=True)
    made /= np.linalg.norm(made, axis=2, keepdims=True)
    return {"full": made[0], "half": made[1]}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("network", [False, True])
def test_the_exported_tower_is_the_trained_one(tmp_path: Path, network: bool) -> None:
    torch.manual_seed(0)
    tower = ImageTower(256, filters(), network=network).eval()
    if tower.network is not None:
        torch.nn.init.normal_(tower.network.project.weight, std=0.02)
    export.write_image(tower, tmp_path / "image.onnx")
    assert export.parity(tower, tmp_path / "image.onnx", count=4) > export.LEAST_PARITY
    learned = sum(p.numel() for p in tower.parameters())
    assert (tmp_path / "image.onnx").stat().st_size < learned * 1.2 + 2_000_000


def test_fused_measurements_are_the_plain_ones() -> None:
    tower = ImageTower(256, filters()).eval()
    fused, steps, found = Fused(tower).eval(), export.preprocessing(), fonts.Fonts({})
    images = [catalogue.draw(6, index, found).image for index in range(6)]
    images += [Image.new("RGB", (60, 900), colour) for colour in ("white", "black", (250, 3, 90))]
    for image in images:
        plain = tower.measure(torch.from_numpy(steps(image)[None]))
        quick = fused.measure(torch.tensor(steps.fitted(image)[None]).float())
        # Where there is no contrast, spreads and powers are what rounding leaves; their floors keep that small.
        torch.testing.assert_close(quick, plain, rtol=1e-3, atol=2e-3)
    learned = torch.from_numpy(filters()["full"]).reshape(-1, 1, 8, 8)
    assert torch.equal(from_blocks(to_blocks(learned)), learned)


@pytest.mark.filterwarnings("ignore")
def test_the_weights_that_ship_can_be_exported_again(tmp_path: Path) -> None:
    tower = export.tower_again(FOLDER / "image.onnx")
    assert export.parity(tower, FOLDER / "image.onnx", count=4) > 0.999999
    export.write_image(tower, tmp_path / "image.onnx")
    export.write(tmp_path / "image.onnx", export.parity(tower, tmp_path / "image.onnx"), FOLDER, tmp_path / "again")
    pages = [catalogue.draw(8, index, fonts.Fonts({})).image for index in range(4)]
    first, second = (MiniEncoder(folder, threads=1).encode_images(pages) for folder in (FOLDER, tmp_path / "again"))
    np.testing.assert_allclose(first, second, atol=1e-6)
    assert not np.allclose(first[0], first[1], atol=1e-2)
    with pytest.raises(SystemExit, match="export it from its run"):
        export.write_image(ImageTower(256, filters(), network=True).eval(), tmp_path / "network.onnx")
        export.tower_again(tmp_path / "network.onnx")


def test_samples_come_from_their_index_and_drawn_documents_are_enough() -> None:
    drawn = [catalogue.draw(6, index, fonts.Fonts({})) for index in range(6)]
    entries = [shards.Entry(shards.jpeg(d.image), d.kind, d.sees, d.about, d.tongue) for d in drawn]
    pool = samples.Pool(entries, {}, (*captions.GENERATED, *captions.REAL))
    for index in range(12):
        first, again = samples.sample(pool, 1, index), samples.sample(pool, 1, index)
        assert first["pixels"].shape == (3, HEIGHT, WIDTH) and first["pixels"].dtype == np.uint8
        np.testing.assert_array_equal(first["pixels"], again["pixels"])
        assert first["caption"] == again["caption"] and first["kind"] < DRAWN
        assert ((first["conditions"] == 0) | (first["conditions"] >= 0.3)).all()


def test_measurements_are_finite_whatever_is_on_the_page() -> None:
    tower = ImageTower(256, filters()).eval()
    pixels = torch.stack([torch.full((3, HEIGHT, WIDTH), v) for v in (-2.0, 0.0, 2.0)])
    found = tower.measure(pixels)
    assert found.shape == (3, MEASURED) and bool(found.isfinite().all())
    assert bool(tower(pixels).isfinite().all())


def test_real_pages_are_never_told_from_drawn_ones() -> None:
    torch.manual_seed(0)
    heads = Heads(8, KINDS, 13)
    raw = torch.randn(6, 8, requires_grad=True)
    kinds = torch.tensor([0, 1, 2, 3, DRAWN, DRAWN + 1])
    words = torch.nn.functional.normalize(torch.randn(6, 8), dim=1)
    found = losses.parts(heads(raw), words, kinds, torch.zeros(6, 13), torch.zeros(6, 64), DRAWN)
    (found["kind"] + found["contrast"]).backward()
    # The drawn kinds' directions do not move for real samples, nor the real ones' for drawn samples.
    heads.kinds.grad = None
    real = losses.parts(heads(raw.detach()[4:]), words[4:], kinds[4:], torch.zeros(2, 13), torch.zeros(2, 64), DRAWN)
    real["kind"].backward()
    assert float(heads.kinds.grad[:DRAWN].abs().max()) == 0 < float(heads.kinds.grad[DRAWN:].abs().max())


def test_training_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    model = torch.nn.ModuleDict({"layers": Measured(8), "heads": Heads(8, KINDS, 13)})
    optimiser = torch.optim.AdamW(model.parameters())
    assert train.load(tmp_path, model, optimiser) == 0
    train.save(tmp_path, model, optimiser, 17)
    before = model["layers"].last.weight.detach().clone()
    with torch.no_grad():
        model["layers"].last.weight.add_(1)
    assert train.load(tmp_path, model, optimiser) == 17
    assert torch.equal(model["layers"].last.weight, before)


def test_quantised_tokens_point_where_they_pointed() -> None:
    rng = np.random.default_rng(0)
    table = (rng.normal(size=(500, 256)) * rng.lognormal(0, 2, (500, 1))).astype(np.float32)
    values, scales = text_model.quantise(table)
    assert values.dtype == np.int8 and scales.dtype == np.float32
    made = values * scales[:, None]
    cosine = (made * table).sum(1) / np.linalg.norm(made, axis=1) / np.linalg.norm(table, axis=1)
    assert cosine.min() > 0.999


def student(vocabulary: int) -> distil.Student:
    """One whose network says something: after initialisation it only sums."""
    torch.manual_seed(1)
    made = distil.Student(np.random.default_rng(1).normal(size=(vocabulary, 256)).astype(np.float32))
    for parameter in made.network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return made


WORDS = ["[PAD]", "[UNK]", "total", "due", "not", "the", "invoice"]
SAID = ["total due", "the total invoice not due", "", "due " * 90]


@pytest.mark.filterwarnings("ignore")
def test_the_exported_text_tower_is_the_trained_one(tmp_path: Path) -> None:
    made = student(len(WORDS))
    distil.write(made, WORDS, tmp_path)
    corpus = distil.Corpus.of(WordPiece(WORDS), SAID, np.zeros((4, 384), np.float32))
    with torch.no_grad():
        together = made.rows(corpus, np.argsort(corpus.lengths)).numpy()[np.argsort(np.argsort(corpus.lengths))]
    found = TextTower(tmp_path / "text.onnx", tmp_path / "vocabulary.txt.gz")(SAID)
    cosine = np.einsum("ij,ij->i", together, found)
    assert cosine.min() > export.LEAST_PARITY, cosine  # padding and int8 change nothing much


def test_a_text_tower_begins_as_a_sum_of_its_tokens() -> None:
    made = distil.Student(np.random.default_rng(1).normal(size=(len(WORDS), 256)).astype(np.float32))
    corpus = distil.Corpus.of(WordPiece(WORDS), SAID, np.zeros((4, 384), np.float32))
    with torch.no_grad():
        found = made.rows(corpus, np.array([0])).numpy()[0]
    expected = made.table.weight[[2, 3]].sum(0).detach().numpy()
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-5)


def test_the_directions_of_a_former_tower_are_found_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    axes = np.linalg.qr(rng.normal(size=(384, 384)))[0].T
    true = axes[:256]  # those of most variance, as a first tower was made with
    targets = (rng.normal(size=(4000, 384)) * np.linspace(2, 0.1, 384) @ axes).astype(np.float32)
    former = targets @ true.T + 0.1 * rng.normal(size=(4000, 256))
    found = distil.basis(tmp_path, [], targets, lambda _: former)
    assert np.einsum("ij,ij->i", found, true).min() > 0.98
    np.testing.assert_array_equal(distil.basis(tmp_path, [], targets, None), found)  # kept for the folder


def test_training_brings_similarities_to_the_teachers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distil, "BATCH", 128)
    rng = np.random.default_rng(3)
    words = ["[UNK]", *(f"w{i}" for i in range(40))]
    meaning = rng.normal(size=(21, 384)).astype(np.float32)
    meaning = np.concatenate([meaning, meaning[1:]])  # every word has a synonym, which the start does not know
    rows = rng.integers(1, 41, size=(512, 3))
    targets = meaning[rows].sum(1)
    targets /= np.linalg.norm(targets, axis=1, keepdims=True)
    corpus = distil.Corpus.of(WordPiece(words), [" ".join(words[i] for i in row) for row in rows], targets)
    torch.manual_seed(0)
    made = distil.Student(rng.normal(size=(41, 256)).astype(np.float32))
    before = distil.agreement(made, corpus, 300)
    goal = torch.nn.functional.normalize(torch.from_numpy(targets[:, :256].copy()), dim=1)
    distil.fit(made, corpus, goal, {"all": corpus}, Namespace(epochs=15, rate=3e-2, seed=0, out=tmp_path))
    after = distil.agreement(made, corpus, 300)
    assert before < 0.7 and after > 0.85, (before, after)


class Stop(Exception):
    pass


def test_the_text_tower_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distil, "BATCH", 32)
    rng = np.random.default_rng(3)
    words = ["[UNK]", *(f"w{i}" for i in range(40))]
    targets = rng.normal(size=(256, 384)).astype(np.float32)
    texts = [" ".join(words[i] for i in row) for row in rng.integers(1, 41, size=(256, 3))]
    corpus = distil.Corpus.of(WordPiece(words), texts, targets)
    goal = torch.nn.functional.normalize(torch.from_numpy(targets[:, :256].copy()), dim=1)

    def run(out: Path, stop: int = 99) -> np.ndarray:
        """Three epochs of eight steps; a checkpoint every second step, stopped at the ``stop``-th."""
        torch.manual_seed(0)
        made = distil.Student(np.random.default_rng(5).normal(size=(41, 256)).astype(np.float32))
        seen = []

        def agreement(*_: object) -> float:
            seen.append(1)
            if len(seen) == stop:
                raise Stop
            return 0.0

        monkeypatch.setattr(distil, "agreement", agreement)
        distil.fit(made, corpus, goal, {"all": corpus}, Namespace(epochs=3, rate=1e-2, seed=4, out=out))
        return made.table.weight.detach().numpy()

    (tmp_path / "whole").mkdir()
    (tmp_path / "stopped").mkdir()
    with pytest.raises(Stop):
        run(tmp_path / "stopped", 6)
    np.testing.assert_array_equal(run(tmp_path / "stopped"), run(tmp_path / "whole"))


def test_components_are_kept_in_directions_that_captions_hardly_use() -> None:
    torch.manual_seed(0)
    rows = torch.randn(600, 90) @ torch.randn(90, MEASURED) + 3.0
    axes, kept = train.components(rows)
    assert axes.shape == (KEPT, MEASURED) and kept.shape == (600, KEPT)
    # Components are of falling variance, the first of unit variance, and no two say the same.
    covariance = torch.cov(kept.T)
    assert abs(float(covariance[0, 0]) - 1) < 0.1 and bool((covariance.diag().diff() < 0.02).all())
    assert float((covariance - covariance.diag().diag()).abs().max()) < 0.05
    words = torch.randn(500, 256) * torch.linspace(0.01, 1, 256)
    directions = train.unused(words)
    torch.testing.assert_close(directions.T @ directions, torch.eye(KEPT), atol=1e-5, rtol=0)
    assert float((words @ directions).square().sum() / words.square().sum()) < 0.05

    layers = Measured(256).eval()
    before = torch.nn.functional.normalize(layers(rows), dim=1)
    layers.keep(axes, directions)
    added = layers(rows) - before
    torch.testing.assert_close(added.norm(dim=1), torch.full((600,), SHARE), atol=1e-4, rtol=0)
    torch.testing.assert_close(added, added @ directions @ directions.T, atol=1e-5, rtol=0)
