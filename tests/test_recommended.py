"""The attention ratio that a model recommends, and who uses it."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from camixersr.catalogue import find
from camixersr.enlarge.upscaler import Upscaler
from camixersr.models.classes import Classes
from camixersr.weights import Model, save
from tests.conftest import run

SCORES = {"held out/0": 30.0, "held out/0.25": 30.02, "held out/0.5": 30.041, "held out/1": 30.05}


def scored(scores: Mapping[str, Any]) -> Model:
    return replace(find("s-x2"), scores=scores)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        (SCORES, 0.5),  # 0.009 below the best
        ({**SCORES, "held out/0.5": 30.04}, 0.5),  # just enough
        ({**SCORES, "held out/0.5": 30.039}, 1.0),
        ({**SCORES, "held out/0": 30.2}, 0.0),  # attention harms
        ({"Set5/0": 31.0, "Set5/0.25": 31.1, "protocol": "luma"}, 0.25),
        ({"Set5/0": 31.0, **SCORES}, 0.5),  # held out comes first
        ({"protocol": "luma", "Set5/7": 40.0, "Set5/x": 40.0}, 0.5),
        ({}, 0.5),
    ],
)
def test_it_is_the_least_within_a_hundredth_of_the_best(scores: dict[str, Any], expected: float) -> None:
    model = scored(scores)
    assert model.attention_ratio == expected == model.ratio(None)
    assert model.ratio(0.3) == 0.3


def test_classes_keep_the_middle_of_their_dial() -> None:
    classes = Classes(None, (0.0, 0.5, 1.0))  # pyright: ignore[reportArgumentType]  # it is not asked
    assert replace(scored(SCORES), classes=classes).attention_ratio == 0.5


def test_the_command_and_the_library_use_it_and_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    save(tmp_path / "mine.safetensors", scored({"held out/0": 30.0, "held out/1": 30.0}))
    arguments = [tmp_path / "a.png", "-o", tmp_path / "b.png", "--overwrite", "--backend", "torch"]
    arguments += ["--model", tmp_path / "mine.safetensors", "--json", tmp_path / "facts.json"]

    def upscale(*more: object) -> str:
        assert run("upscale", *arguments, *more) == 0
        return capsys.readouterr().out

    assert "0 % of windows attended (ratio 0, which s-x2 recommends)" in upscale()
    facts = json.loads((tmp_path / "facts.json").read_text(encoding="utf-8"))
    assert facts["attention_ratio"] == 0.0
    assert facts["options"]["attention_ratio"] is None
    result = np.asarray(Image.open(tmp_path / "b.png"))
    upscaler = Upscaler(find(str(tmp_path / "mine.safetensors")), backend="torch", device="cpu")
    np.testing.assert_array_equal(upscaler.upscale(pixels), result)
    np.testing.assert_array_equal(upscaler.upscale(pixels, attention_ratio=0.0), result)
    said = upscale("--attention-ratio", 1)
    assert "100 % of windows attended" in said
    assert "recommends" not in said
