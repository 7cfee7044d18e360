"""Scores: the authors' S through our code gives their numbers, and our models give what they claim."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from camixersr.catalogue import embedded, find
from camixersr.evaluation import PUBLISHED_BICUBIC
from camixersr.metrics import luma, psnr
from camixersr.nn import Policy, TopShare
from camixersr.weights import Model, load_file
from tests.conftest import ROOT, TensorComputer, noise_picture, shared


@torch.inference_mode()
def set_score(model: Model, folder: Path, policy: Policy) -> float:
    """Mean luma PSNR, border of `scale` pixels, low images as stored, 8-bit rounding first."""
    scores: list[float] = []
    for path in sorted((folder / "high").glob("*.png")):
        low = np.asarray(Image.open(folder / "low" / path.name).convert("RGB"))
        high = np.asarray(Image.open(path).convert("RGB"))
        image = torch.from_numpy(low.copy()).permute(2, 0, 1)[None].float() / 255.0
        result = (model.network(image, policy)[0] * 255.0).round().clamp(0, 255).byte()
        result = result.permute(1, 2, 0).numpy()
        reference = high[: result.shape[0], : result.shape[1]]
        scores.append(psnr(luma(result), luma(reference), border=model.config.scale))
    return float(np.mean(scores))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Set5", 32.336),
        pytest.param("Set14", 28.702, marks=pytest.mark.slow),
        pytest.param("BSD100", 27.622, marks=pytest.mark.slow),
    ],
)
def test_the_authors_s_at_full_attention(name: str, expected: float) -> None:
    model = load_file(shared("official/CAMixerSR_S.pth"))
    folder = shared(f"data/bench/{name}/x4")
    assert set_score(model, folder, TopShare(1.0)) == pytest.approx(expected, abs=0.005)


def test_the_embedded_models_are_small_and_say_where_they_come_from() -> None:
    assert {"s-x2", "s-x3", "s-x4"} <= set(embedded())
    for name, file in embedded().items():
        assert file.stat().st_size <= 1_500_000
        model = find(name)
        assert model.name == name
        assert model.calibration is not None
        assert len(model.calibration.thresholds[0]) == model.network.block_count
        assert {"data", "licences", "steps", "hours"} <= set(model.provenance)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_embedded_models_beat_bicubic_by_what_they_claim(scale: int) -> None:
    model = find(f"s-x{scale}")
    folder = shared(f"data/bench/Set5/x{scale}")
    measured = set_score(model, folder, model.policy(0.5))
    assert measured >= PUBLISHED_BICUBIC["Set5", scale] + 1.5
    stored = json.loads((ROOT / "docs" / "results" / f"classic-s-x{scale}.json").read_text())["rows"]
    (claimed,) = (
        row["psnr"]
        for row in stored
        if (row["set"], row["model"], row["attention_ratio"]) == ("Set5", model.name, 0.5)
    )
    assert measured == pytest.approx(claimed, abs=0.01)


def test_routing_follows_content() -> None:
    """A plain half is left to convolution, a busy half is attended; a plain picture spends little."""

    up = TensorComputer(find("s-x4"), device="cpu")
    halves = torch.from_numpy(noise_picture(96, 192)).permute(2, 0, 1).float() / 255.0
    shares = up.run(halves, attention_ratio=0.5).shares
    assert shares[:, :5].mean() < 0.2
    assert shares[:, 7:].mean() > 0.5  # noise is no photograph, and blocks differ in what they attend of it

    photo = np.asarray(Image.open(ROOT / "samples" / "summer-palace.jpg"))
    sky, building = photo[16:112, 400:592], photo[130:226, 96:288]
    both = np.concatenate((sky, building), axis=1)
    shares = up.run(torch.from_numpy(both).permute(2, 0, 1).float() / 255.0).shares
    assert shares[:, 12:].mean() > 0.7
    assert shares[:, 12:].mean() >= 3.0 * shares[:, :12].mean()
