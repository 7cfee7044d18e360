"""One record of options: its checks, and that flags, manifest, journal and facts walk its fields."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import camixersr
from camixersr.cli.flags import GROUP_OF
from camixersr.enlarge.disk import enlarge_file
from camixersr.enlarge.options import Options
from camixersr.errors import UsageError, ValueRangeError
from camixersr.runs.manifest import MANIFEST
from camixersr.weights import Model, save
from tests.conftest import TensorComputer, noise_picture, random_network, run

OTHERS: dict[str, Any] = {
    "model": "other",  # stands for the path of another one
    "scale": 1.5,
    "width": 20,
    "height": 20,
    "fit": "20x20",
    "megapixels": 0.0005,
    "at_most": True,
    "attention_ratio": 0.25,
    "restore": "on",
    "preview": True,
    "routing": "top-share",
    "max_share": 0.25,
    "seconds": 100.0,
    "memory": "16GB",
    "tile": 64,
    "batch": 2,
    "device": "cpu,cpu",
    "backend": "onnxruntime",
    "precision": "bf16",
    "alpha": "bicubic",
    "projection": "flat",
    "salvage": True,
    "color": "srgb",
    "format": "webp",
    "quality": 50,
    "subsampling": "4:2:0",
    "compression": "9",
    "lossless": True,
    "strip": True,
    "name": "{stem}-{size}",
}
"""Another value than the default of each option."""

NAMES = [each.name for each in fields(Options)]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("tiny", "other")):
        network = random_network(channels=8, scale=2, blocks=(1,), seed=seed)
        save(folder / f"{name}.safetensors", Model(name, network))
    return folder / "tiny.safetensors", folder / "other.safetensors"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(noise_picture(16, 16)).save(folder / "a.png")
    return folder


def test_there_is_another_value_of_every_option() -> None:
    assert list(OTHERS) == NAMES
    assert all(getattr(Options(), name) != value for name, value in OTHERS.items())


@pytest.mark.parametrize("name", NAMES)
def test_an_option_is_in_the_manifest_and_another_value_computes_again(
    photos: Path, tmp_path: Path, models: tuple[Path, Path], name: str
) -> None:
    if name == "backend":
        pytest.importorskip("onnxruntime")
    before = Options(model=str(models[0]), device="cpu")
    after = replace(before, **{name: str(models[1]) if name == "model" else OTHERS[name]})
    out = tmp_path / "out"

    def statuses(options: Options) -> list[str]:
        out.mkdir(exist_ok=True)
        results = list(camixersr.upscale_files(photos, out, options=options, existing="resume"))
        assert [each.error for each in results] == [None]
        return [each.status for each in results]

    assert [statuses(before) for _ in range(2)] == [["done"], ["skipped"]]
    assert [statuses(after) for _ in range(2)] == [["done"], ["skipped"]]
    lines = [json.loads(line) for line in (out / MANIFEST).read_text().splitlines()]
    records = [line["options"] for line in lines if line["result"] == "done"]
    assert len(records) == 2
    assert {key for key in records[0] if records[0][key] != records[1][key]} == {name}
    assert set(NAMES) <= set(records[0])
    facts = [line["facts"]["options"] for line in lines if line["result"] == "done"]
    assert {key for key in facts[0] if facts[0][key] != facts[1][key]} == {name}


def test_every_option_has_a_flag_in_a_group_of_the_help(capsys) -> None:
    assert set(GROUP_OF) == set(NAMES)
    assert run("upscale", "--help") == 0
    shown = capsys.readouterr().out
    for name in NAMES:
        assert f"--{name.replace('_', '-')} " in shown, name
    first = shown.split("─ Options ─")[1].split("╰")[0]
    assert first.count("│ --") == 10  # the ten that matter first
    for name in ("output", "model", "scale", "fit", "attention-ratio", "format", "quality", "json"):
        assert f"--{name} " in first


def test_a_flag_sets_its_option(models: tuple[Path, Path], photos: Path, tmp_path: Path) -> None:
    """Many at once, through the command line into the facts."""
    facts = tmp_path / "f.json"
    given = {
        "model": str(models[0]), "attention_ratio": 0.25, "max_share": 0.75, "seconds": 50.0,
        "memory": "3GB", "tile": 64, "batch": 1, "device": "cpu", "precision": "fp32", "alpha": "bicubic",
        "projection": "flat", "salvage": True, "color": "srgb", "format": "jpg", "quality": 40,
        "subsampling": "4:2:0", "strip": True, "name": "{name}_{size}", "scale": 2.0,
    }  # fmt: skip
    flags: list[object] = []
    for name, value in given.items():
        flags += [f"--{name.replace('_', '-')}", *([] if value is True else [value])]
    assert run("upscale", photos / "a.png", "--json", facts, *flags) == 0
    expected = Options(**given).record()
    assert json.loads(facts.read_text())["options"] == expected
    assert expected["memory"] == 3_000_000_000
    assert (photos / "a.png_x2.jpg").is_file()


@pytest.mark.parametrize("name", [each for each in NAMES if each in Options().record(of_pixels=True)])
def test_a_large_pictures_journal_knows_every_option_that_decides_pixels(
    photos: Path, tmp_path: Path, name: str
) -> None:
    up = TensorComputer(
        Model("tiny", random_network(channels=8, scale=2, blocks=(1,))), device="cpu", tile=64
    )
    built_with = ("model", "routing", "tile", "batch", "device", "backend", "precision")
    if name in built_with:  # the journal asks the upscaler itself
        return
    source, target = photos / "a.png", tmp_path / "o.png"

    def stop(done: int, total: int) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        enlarge_file(up, source, target, Options(), resume=True, progress=stop)
    with pytest.raises(UsageError, match=f"another .*{name.replace('_', ' ')}.*; repeat"):
        enlarge_file(up, source, target, Options(**{name: OTHERS[name]}), resume=True)
    enlarge_file(up, source, target, Options(compression="9", name="{name}"), resume=True)
    assert target.is_file()


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"attention_ratio": 1.5}, ValueRangeError, r"--attention-ratio must lie in \[0, 1\], got 1.5"),
        ({"max_share": float("nan")}, ValueRangeError, "--max-share must lie"),
        ({"seconds": 0.0}, ValueRangeError, "--seconds must be positive"),
        ({"memory": "much"}, UsageError, "--memory must be a size such as 2GB"),
        ({"batch": 0}, ValueRangeError, "--batch must be at least 1"),
        ({"routing": "best"}, UsageError, "unknown --routing 'best'; use one of auto, top-share"),
        ({"format": "bmp"}, UsageError, "unknown --format 'bmp'; use one of png, jpg"),
        ({"tile": "large"}, UsageError, "unknown --tile 'large'; use one of auto"),
        ({"width": 3, "scale": 2.0}, UsageError, "both say how large"),
        ({"fit": "wide"}, UsageError, "--fit must be WIDTHxHEIGHT"),
        ({"quality": 0}, UsageError, "--quality must lie in 1 to 100"),
        ({"format": "png", "quality": 50}, UsageError, "--quality 50 means nothing for png"),
        ({"name": "fixed"}, UsageError, "or all results are one file"),
    ],
)
def test_what_cannot_be_is_refused_at_once(options: dict[str, Any], kind: type, said: str) -> None:
    with pytest.raises(kind, match=said):
        Options(**options)
