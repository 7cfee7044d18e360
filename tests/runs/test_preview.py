"""A quick look: the part of a picture where there is most detail, as it would be in the whole."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import camixersr
from camixersr import Options
from camixersr.errors import UsageError
from camixersr.image.decode import read
from camixersr.weights import Model, save
from tests.conftest import noise_picture, pictures_of_page, random_network, run


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> Options:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save(path, Model("tiny", random_network(channels=8, scale=2, blocks=(1,))))
    return Options(model=str(path), device="cpu", preview=True, attention_ratio=0.25)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Large enough to be streamed, with detail at (300, 500)."""
    image = np.full((700, 900, 3), 80, np.uint8)
    image[300:560, 500:760] = noise_picture(260, 260)
    exif = Image.Exif()
    exif[0x10F] = "camera"
    path = tmp_path / "a.png"
    Image.fromarray(image).save(path, exif=exif)
    return path


def test_a_preview_is_the_enlarged_part_with_most_detail(photo: Path, options: Options) -> None:
    [result] = camixersr.upscale_files(photo, options=options)
    assert result.target.name == "a_x2_preview.png"
    left, top, width, height = result.facts["part"]
    assert (width, height) == (256, 256)
    assert (top % 16, left % 16) == (0, 0), "blocks of a JPEG begin at its top left"
    assert 288 <= top <= 304
    assert 488 <= left <= 504
    assert f"256 x 256 pixels at {left}, {top}" in result.notes[0]
    part = read(photo).pixels[top : top + 256, left : left + 256]
    expected = camixersr.load(str(options.model), device="cpu").upscale(part, attention_ratio=0.25)
    assert np.array_equal(read(result.target).pixels, expected)
    assert "exif-data" not in read(result.target).metadata, "which would speak of the whole"


def test_sizes_are_those_of_the_whole(photo: Path, options: Options) -> None:
    """A frame is that of the picture: the preview has its factor."""
    asked = Options(**{**options.record(), "fit": "1350x1350"})
    [result] = camixersr.upscale_files(photo, options=asked)
    assert result.facts["high_size"] == [384, 384]


def test_a_file_from_a_file_is_the_same(photo: Path, options: Options, tmp_path: Path) -> None:
    [result] = camixersr.upscale_files(photo, options=options)
    other = tmp_path / "other.png"
    up = camixersr.load(str(options.model), device="cpu")
    written = up.upscale_file(photo, other, options=Options(preview=True, attention_ratio=0.25))
    assert other.read_bytes() == result.target.read_bytes()
    assert written.notes == result.notes


def test_a_page_compares_the_preview(photo: Path, options: Options, tmp_path: Path) -> None:
    page, facts = tmp_path / "p.html", tmp_path / "f.json"
    flags = ("--model", options.model, "--device", "cpu", "--preview", "--compare", page, "--json", facts)
    assert run("upscale", photo, *flags) == 0
    assert json.loads(facts.read_text())["high_size"] == [512, 512]
    before, after, _ = pictures_of_page(page)
    left, top, _, _ = json.loads(facts.read_text())["part"]
    low = read(photo).pixels[top : top + 256, left : left + 256]
    assert before.shape == after.shape == (512, 512, 3)
    whole = np.asarray(Image.fromarray(low).resize((512, 512), Image.Resampling.BICUBIC)).astype(float)
    assert np.abs(before - whole)[8:-8, 8:-8].mean() < 6
    assert np.corrcoef(before[8:-8, 8:-8].ravel(), whole[8:-8, 8:-8].ravel())[0, 1] > 0.98


def test_what_is_small_is_shown_whole_and_what_needs_the_disk_is_refused(
    photo: Path, options: Options, tmp_path: Path
) -> None:
    small = tmp_path / "small.png"
    Image.fromarray(noise_picture(40, 30)).save(small)
    [result] = camixersr.upscale_files(small, options=options)
    assert (result.facts["part"], result.notes) == ([0, 0, 30, 40], ())
    [result] = camixersr.upscale_files(photo, options=Options(**{**options.record(), "memory": "4GB"}))
    assert isinstance(result.error, UsageError)
    assert "a preview is not" in str(result.error)
