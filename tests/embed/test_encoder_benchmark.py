"""The arithmetic of ``benchmarks.encoder``: what its figures mean, on inputs whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import _encoder_drift as drift
from benchmarks import _encoder_images as images
from benchmarks._encoder_prompts import PROMPTS
from benchmarks.encode import headline
from training.split import HELD_OUT


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_neighbours_of_the_own_document_can_be_left_out() -> None:
    # Two kinds; each document's three pictures are near each other, the next nearest are of the other kind.
    rows = unit(np.array([[1, 0], [1, 0.01], [1, 0.02], [1, 0.2], [1, 0.21], [1, 0.22]], float))
    kinds, documents = ["receipts"] * 3 + ["olmocr_old_scans"] * 3, ["a"] * 3 + ["b"] * 3
    found = images.knn(np.hstack([rows, rows]) / 2**0.5, kinds, documents)
    # With five neighbours the other kind's three outvote the own two.
    assert found["knn_accuracy"] == 0
    rows = unit(np.repeat(np.eye(2), 8, axis=0) + np.random.default_rng(0).normal(0, 0.05, (16, 2)))
    kinds = ["receipts"] * 8 + ["olmocr_old_scans"] * 8
    found = images.knn(rows, kinds, [str(n) for n in range(16)])
    assert found["knn_accuracy"] == found["knn_accuracy_other_documents"] == found["knn_accuracy_held_out_kinds"] == 1
    assert images.knn(rows, kinds, kinds)["knn_accuracy_other_documents"] == 0


def test_words_decide_by_the_nearest_prompt() -> None:
    axes = {name: n for n, name in enumerate(PROMPTS)}
    by_text = {text: axes[name] for name, prompts in PROMPTS.items() for text in prompts}

    def encode(texts: list[str]) -> np.ndarray:
        return np.eye(len(PROMPTS), dtype=np.float32)[[by_text[text] for text in texts]]

    kinds = [*PROMPTS, "receipts"]
    rows = np.eye(len(PROMPTS), dtype=np.float32)[[*range(len(PROMPTS)), axes["handwritten"]]]
    found = images.zero_shot(rows, kinds, encode)  # type: ignore[arg-type]
    assert found["zero_shot_accuracy"] == pytest.approx(19 / 20)
    assert found["zero_shot_accuracy_trained_kinds"] == 1
    assert found["zero_shot_confusions"] == {"receipts as handwritten": 1}


def test_retrieval_counts_equal_captions_as_right() -> None:
    said = ["a", "b", "a", "c"]
    table = {"a": [1, 0, 0], "b": [0, 1, 0], "c": [0, 0, 1]}

    def encode(texts: list[str]) -> np.ndarray:
        return np.array([table[text] for text in texts], np.float32)

    found = images.retrieval(encode(said), said, encode)["caption_retrieval"]  # type: ignore[arg-type]
    assert found["image_to_text_at_1"] == found["text_to_image_at_1"] == 1


def test_sensitivity_grows_with_distance() -> None:
    clean = unit(np.random.default_rng(0).normal(size=(50, 8)))
    other = unit(np.random.default_rng(1).normal(size=(50, 8)))
    levels = [unit(clean + share * other) for share in (0.1, 0.3, 1.0)]
    found = images.sensitivity(clean, {"blur": levels})["condition_sensitivity"]["blur"]
    assert found["grows"] == 1 and found["distance"] == sorted(found["distance"])
    backwards = images.sensitivity(clean, {"blur": levels[::-1]})["condition_sensitivity"]["blur"]
    assert backwards["grows"] == 0


def test_thresholds_hold_the_run_length_and_a_change_is_seen_sooner_the_larger_it_is() -> None:
    rng = np.random.default_rng(0)
    kinds = np.array(
        ["olmocr_old_scans"] * 200 + ["olmocr_table_tests"] * 200 + ["receipts"] * 60 + ["typescripts"] * 60
    )
    rows = rng.normal(size=(520, 16))
    rows[400:460] += 1.5
    rows[460:] += 6.0
    documents = [str(n) for n in range(520)]
    found = drift.delays(rows.astype(np.float32), kinds.tolist(), documents)
    unchanged = drift.RUN_LENGTH * drift.PER_LOOK
    assert found["typescripts"] < found["receipts"] < unchanged / 2
    # A "new kind" that is the old one is no change: within a factor of two of the run length (the two halves differ).
    assert unchanged / 2 < found["olmocr_table_tests"] < unchanged * 2


def test_the_ratio_is_against_the_best_other_encoder() -> None:
    kinds = [*HELD_OUT, "olmocr_old_scans"]
    flat = {name: dict.fromkeys(kinds, value) for name, value in (("driftline_mini", 50.0), ("a", 100.0), ("b", 200.0))}
    flat["b"]["olmocr_old_scans"] = 25.0
    found = drift.compare(flat, kinds)
    assert found["drift_delay_ratio"] == 0.5 and found["drift_delay_ratio_trained_kinds"] == 2.0
    assert found["drift_compared_with"] == ["a", "b"]


def test_speeds_are_repeated_under_their_names() -> None:
    rates = ("images_per", "encode_only_images_per", "texts_per")
    names = [f"{rate}_{unit}" for rate in rates for unit in ("second", "cpu_second")]
    mini = {name: float(at) for at, name in enumerate(names)} | {"rss_mb": 50.0, "decoders_rss_mb": 20.0}
    pair = {name: 100.0 + at for at, name in enumerate(names)}
    found = headline({"features": dict.fromkeys(names, -1.0), "driftline_mini": mini, "onnx_int8": pair})
    expected = {name: mini[name] for name in (*names, "rss_mb")}
    for unit in ("second", "cpu_second"):
        expected[f"vit_b32_encode_only_images_per_{unit}"] = pair[f"encode_only_images_per_{unit}"]
    assert found == expected
    absent = headline({"driftline_mini": {"note": "failed"}})
    assert set(absent) == set(expected) and set(absent.values()) == {None}
