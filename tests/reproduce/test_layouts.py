"""Sets in every usual layout are one and the same; what does not fit together is named."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from camixersr.data import BICUBIC
from camixersr.errors import InputError
from camixersr.image.resize import resize
from camixersr.reproduce import known
from camixersr.reproduce.check import check_folder, require_sizes
from camixersr.reproduce.known import KNOWN, hash_of
from camixersr.reproduce.layouts import Layout, lay_out, locate
from tests.conftest import ROOT, noise_picture, run

NAMES = ("baby", "bird", "butterfly", "head", "woman")


def halves(number: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    high = noise_picture(24 + 12 * number, 36, seed=number)
    return high, resize(high, height=high.shape[0] // 4, width=9)


def make(folder: Path, high: str, low: str = "") -> Path:
    """Set5 with these patterns of file names."""
    for number, name in enumerate(NAMES):
        for pattern, pixels in zip((high, low), halves(number), strict=True):
            if pattern:
                path = folder / "Set5" / pattern.format(name)
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    return folder / "Set5"


def laid_out(folder: Path, scale: int = 4) -> Layout:
    layout = lay_out(folder, scale, BICUBIC)
    assert layout is not None
    return layout


@pytest.mark.parametrize(
    ("high", "low"),
    [
        ("x4/high/{}.png", "x4/low/{}.png"),
        ("HR/{}.png", "LRbicx4/{}.png"),
        ("HR/{}.png", "LR_bicubic/X4/{}x4.png"),
        ("GTmod12/{}.png", "LRbicx4/{}x4.png"),
        ("image_SRF_4/{}_SRF_4_HR.png", "image_SRF_4/{}_SRF_4_LR.png"),
        ("hr/{}.bmp", "LR/x4/{}_x4.bmp"),
        ("{}.png", ""),
        ("original/{}.png", ""),
    ],
)
def test_one_set_in_any_layout(tmp_path: Path, high: str, low: str) -> None:
    layout = laid_out(make(tmp_path, high, low))
    benchmark = require_sizes(layout.benchmark, 4)
    assert benchmark.problems == ()
    assert [pair.name for pair in benchmark.pairs] == list(NAMES)
    assert bool(benchmark.made) == (not low)
    for number, pair in enumerate(benchmark.pairs):
        for mine, theirs in zip(pair.read(4), reversed(halves(number)), strict=True):
            assert np.array_equal(mine, theirs)


def test_a_set_is_found_below_folders_and_by_its_other_names(tmp_path: Path) -> None:
    make(tmp_path / "deep" / "er", "HR/{}.png")
    (tmp_path / "B100").mkdir()
    assert locate(tmp_path, "Set5") == tmp_path / "deep" / "er" / "Set5"
    assert locate(tmp_path / "deep" / "er" / "Set5", "Set5") is not None
    assert locate(tmp_path, "BSD100") == tmp_path / "B100"
    assert locate(tmp_path, "deep/er") == tmp_path / "deep" / "er"
    assert locate(tmp_path, "Set14") is None
    assert lay_out(tmp_path / "B100", 4, BICUBIC) is None
    with pytest.raises(InputError, match=r"docs/data\.md"):
        locate(tmp_path / "nowhere", "Set5")


def test_low_pictures_of_another_scale_do_not_count(tmp_path: Path) -> None:
    layout = laid_out(make(tmp_path, "HR/{}.png", "LRbicx4/{}.png"), scale=2)
    assert layout.benchmark.made
    assert lay_out(make(tmp_path / "own", "x4/high/{}.png", "x4/low/{}.png"), 2, BICUBIC) is None


def alone(folder: Path) -> str:
    (folder / "LRbicx4" / "bird.png").unlink()
    return "bird.png: has no low picture in LRbicx4"


def orphan(folder: Path) -> str:
    Image.fromarray(halves(0)[1]).save(folder / "LRbicx4" / "dog.png")
    return "dog.png: has no high picture in HR"


def half(folder: Path) -> str:
    for name in NAMES[:2]:
        (folder / "HR" / f"{name}.png").unlink()
        (folder / "LRbicx4" / f"{name}.png").unlink()
    return "expected the 5 pictures of Set5, got 3"


def deep(folder: Path) -> str:
    Image.fromarray(np.zeros((24, 36), np.uint16)).save(folder / "HR" / "baby.png")
    return "baby.png: expected 8 bits a sample, got 16 bits"


def other_size(folder: Path) -> str:
    Image.fromarray(noise_picture(6, 8)).save(folder / "LRbicx4" / "baby.png")
    return "baby.png: expected 9 x 6 pixels, high / 4, got 8 x 6"


def other_scale(folder: Path) -> str:
    for number, name in enumerate(NAMES):
        high, _ = halves(number)
        small = resize(high, height=high.shape[0] // 2, width=18)
        Image.fromarray(small).save(folder / "LRbicx4" / f"{name}.png")
    return "LRbicx4: expected low pictures of x4, got x2 in all 5"


def other_name(folder: Path) -> str:
    (folder / "LRbicx4" / "bird.png").rename(folder / "LRbicx4" / "birdx2.png")
    return "birdx2.png: expected a low picture of x4, named x2"


def broken(folder: Path) -> str:
    (folder / "HR" / "head.png").write_bytes(b"no picture")
    return "head.png"


def twice(folder: Path) -> str:
    Image.fromarray(halves(0)[0]).save(folder / "HR" / "baby.bmp")
    return "is the second picture baby beside"


@pytest.mark.parametrize(
    "spoil", [alone, orphan, half, deep, other_size, other_scale, other_name, broken, twice]
)
def test_what_does_not_fit_is_named_in_a_line(tmp_path: Path, spoil: Callable[[Path], str]) -> None:
    expected = spoil(folder := make(tmp_path, "HR/{}.png", "LRbicx4/{}.png"))
    benchmark = require_sizes(laid_out(folder).benchmark, 4)
    assert len(benchmark.problems) == 1
    assert expected in benchmark.problems[0]
    assert "\n" not in benchmark.problems[0]


def test_pixels_of_known_sets_are_told_from_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make(tmp_path, "HR/{}.png", "LRbicx4/{}.png")
    both = [halves(number) for number in range(5)]
    theirs = {
        "Set5/x4": {
            "high": frozenset(hash_of(high) for high, _ in both),
            "low": frozenset(hash_of(low) for _, low in both),
        }
    }
    monkeypatch.setattr("camixersr.reproduce.check.hashes", lambda: theirs)

    def pixels() -> tuple[str, int]:
        (found,) = (each for each in check_folder(tmp_path, ("Set5",)) if each.scale == 4)
        return found.pixels, len(found.problems)

    assert pixels() == ("known", 0)
    Image.fromarray(both[0][1] ^ 1).save(folder / "LRbicx4" / "baby.png")
    assert pixels() == ("differ", 1)
    theirs["Set5/x4"] = {"high": frozenset(), "low": frozenset()}
    assert pixels() == ("another edition", 0)


def test_hashes_are_of_sets_that_exist() -> None:
    assert set(known.hashes()) == {
        "Set5/x2",
        "Set5/x3",
        "Set5/x4",
        "Set14/x2",
        "Set14/x3",
        "Set14/x4",
        "BSD100/x4",
    }
    for name, parts in known.hashes().items():
        count = KNOWN[name.split("/")[0]].pictures
        assert {part: len(each) for part, each in parts.items()} == {"high": count, "low": count}


def test_data_check_tells_what_is_there_wrong_and_missing(tmp_path: Path, capsys) -> None:
    folder = make(tmp_path, "HR/{}.png", "LRbicx4/{}.png")
    assert run("data", "check", tmp_path, "--set", "Set5") == 0
    assert "5 pictures, right" in capsys.readouterr().out
    assert run("data", "check", tmp_path) == 4
    out = capsys.readouterr().out
    assert all(name in out for name in KNOWN)
    assert "missing" in out
    (folder / "HR" / "bird.png").unlink()
    assert run("data", "check", tmp_path, "--set", "Set5") == 3
    said = capsys.readouterr()
    assert "bird.png: has no high picture in HR" in said.err
    assert "4 pictures, 2 problems" in said.out
    assert run("data", "check", tmp_path / "nowhere") == 3


def test_the_page_of_sets_names_every_set() -> None:
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    for each in KNOWN.values():
        assert f"| {each.name} | {each.pictures} |" in page
