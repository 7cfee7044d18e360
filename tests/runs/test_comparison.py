"""The page that compares: one file, the very pixels, and nothing from elsewhere."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import camixersr
from camixersr import Options
from camixersr.errors import OutputError, UsageError
from camixersr.image.resize import resize
from camixersr.routemap import heat
from camixersr.runs import comparison
from camixersr.weights import Model, save
from tests.conftest import noise_picture, pictures_of_page, random_network, run


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> Options:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save(path, Model("tiny", random_network(channels=8, scale=2, blocks=(1,))))
    return Options(model=str(path), device="cpu")


def smooth(height: int, width: int) -> np.ndarray:
    return resize(noise_picture(8, 8), height=height, width=width)


def test_the_page_has_bicubic_the_result_and_the_route_map(tmp_path: Path, options: Options) -> None:
    source, page = tmp_path / "<b>&.png", tmp_path / "page.html"
    Image.fromarray(smooth(40, 56)).save(source)
    flags = ("--model", options.model, "--device", "cpu", "--scale", "1.5")
    assert run("upscale", source, "--compare", page, *flags) == 0
    before, after, routes = pictures_of_page(page)
    result = np.asarray(Image.open(tmp_path / "<b>&_x1.5.png")).astype(float)
    assert np.abs(before - resize(smooth(40, 56), height=60, width=84)).mean() < 2
    assert np.abs(after - result).mean() < 4
    assert np.abs(after - before).mean() > 8
    colours = heat(np.linspace(0, 1, 1001))
    assert routes.shape == (3, 4, 3), "a window of 16 is a pixel"
    assert np.abs(colours[:, None] - routes.reshape(1, -1, 3)).max(axis=2).min(axis=0).max() < 1
    text = page.read_text()
    assert "width:96.000px;height:72.000px" in text, "windows of 24 high pixels"
    assert not re.search(r"https?:|//[a-z]|@@", text), "nothing from elsewhere, and every part is in"
    assert "default-src 'none'" in text
    assert "&lt;b&gt;&amp;.png" in text
    assert "<b>" not in text


def test_of_a_large_result_the_page_shows_the_part_with_most_detail(
    tmp_path: Path, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Streamed and held alike: the same part of both, at full resolution, with its windows."""
    image = np.full((600, 500, 3), 90, np.uint8)
    image[320:480, 260:400] = smooth(160, 140)
    image[320:480:4, 260:400] ^= 32
    source = tmp_path / "a.png"
    Image.fromarray(image).save(source)
    monkeypatch.setattr(comparison, "LARGEST", 200_000)
    for size, factor in ({"scale": 2.0}, 2.0), ({"scale": 1.5}, 1.5):
        share = (200_000 / (600 * 500 * factor * factor)) ** 0.5
        page = tmp_path / f"{factor}.html"
        asked = Options(**{**options.record(), **size, "attention_ratio": 0.25})
        [result] = camixersr.upscale_files(source, options=asked, compare=page)
        assert result.error is None
        assert (
            f"part with most detail, {int(500 * share)} x {int(600 * share)} of 500 x 600"
            in (result.notes[-1])
        )
        before, after, _ = pictures_of_page(page)
        assert before.shape == after.shape
        assert 0.95 * 200_000 < after.shape[0] * after.shape[1] < 1.02 * 200_000
        # where it is: the offset of the windows says so
        left, top = (int(re.search(rf"{side}:-(\d+)px", page.read_text())[1]) for side in ("left", "top"))  # pyright: ignore[reportOptionalSubscript]
        whole = np.asarray(Image.open(result.target)).astype(float)
        shown = whole[top : top + after.shape[0], left : left + after.shape[1]]
        assert np.abs(after - shown).mean() < 4
        bicubic = resize(image, height=whole.shape[0], width=whole.shape[1])
        shown = bicubic[top : top + after.shape[0], left : left + after.shape[1]]
        assert np.abs(before - shown).mean() < 3
        assert top / factor < 325
        assert left / factor < 265
        assert (top + after.shape[0]) / factor > 475
        assert (left + after.shape[1]) / factor > 395


def test_transparency_and_pictures_that_are_only_reduced(tmp_path: Path, options: Options) -> None:
    source, page = tmp_path / "a.png", tmp_path / "page.html"
    Image.fromarray(np.dstack([smooth(40, 56), noise_picture(40, 56)[:, :, 0]])).save(source)
    asked = Options(**{**options.record(), "fit": "28x20"})
    assert [each.error for each in camixersr.upscale_files(source, options=asked, compare=page)] == [None]
    before, after = pictures_of_page(page)
    assert before.shape == after.shape == (20, 28, 4)
    assert 'id="map"' not in page.read_text(), "there is no route map"


def test_the_page_is_of_one_picture_and_replaces_nothing(tmp_path: Path, options: Options) -> None:
    source, page = tmp_path / "a.png", tmp_path / "page.html"
    Image.fromarray(smooth(16, 16)).save(source)
    with pytest.raises(UsageError, match="--compare is for one picture"):
        camixersr.upscale_files(tmp_path, options=options, compare=page)
    with pytest.raises(UsageError, match="would be both an input and the comparison"):
        camixersr.upscale_files(source, options=options, compare=source)
    page.write_text("mine")
    [result] = camixersr.upscale_files(source, options=options, compare=page)
    assert isinstance(result.error, OutputError)
    assert page.read_text() == "mine"
    assert not result.target.exists(), "it is refused before the work"
