"""`--restore`: a picture is restored, then enlarged, in one pass, as by two commands with a PNG between."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import camixersr
from camixersr.enlarge.disk import enlarge_file
from camixersr.enlarge.enlarge import enlarge
from camixersr.enlarge.options import DENOISER, LOW_QUALITY, RESTORER, Options
from camixersr.errors import CancelledError, UsageError
from camixersr.image.decode import read
from camixersr.image.degradation import Degradation
from camixersr.image.picture import Picture
from camixersr.weights import Model, save
from tests.conftest import TensorComputer, noise_picture, random_network, run

TILES = ("--tile", "64", "--memory", "4GB")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save(path, Model("tiny", random_network(channels=8, scale=2, blocks=(1,))))
    return path


def photo(path: Path, *, quality: int = 30, size: tuple[int, int] = (90, 140)) -> Path:
    Image.fromarray(noise_picture(*size)).save(path, quality=quality)
    return path


def pixels(path: Path) -> np.ndarray:
    return read(path).pixels


@pytest.mark.parametrize("how", [(), TILES], ids=["in memory", "from disk to disk"])
@pytest.mark.parametrize(("restore", "restorer"), [("on", RESTORER), ("noise", DENOISER)])
def test_one_pass_is_two_commands(
    tmp_path: Path, model: Path, how: tuple[str, ...], restore: str, restorer: str
) -> None:
    source, facts = photo(tmp_path / "a.jpg"), tmp_path / "f.json"
    common = ["--device", "cpu", *how]
    once = ["upscale", source, "-o", tmp_path / "once.png", "--model", model, "--json", facts, *common]
    assert run(*once, "--restore", restore) == 0
    assert run("restore", source, "-o", tmp_path / "r.png", "--model", restorer, *common) == 0
    assert run("upscale", tmp_path / "r.png", "-o", tmp_path / "twice.png", "--model", model, *common) == 0
    assert (
        run("upscale", source, "-o", tmp_path / "plain.png", "--model", model, *common, "--restore", "off")
        == 0
    )
    assert np.array_equal(pixels(tmp_path / "once.png"), pixels(tmp_path / "twice.png"))
    assert not np.array_equal(pixels(tmp_path / "once.png"), pixels(tmp_path / "plain.png"))
    told = json.loads(facts.read_text())
    assert told["restored"] is True
    assert told["options"]["restore"] == restore
    assert sorted(each.name for each in tmp_path.glob(".*")) == [], "nothing hidden is left"


def test_auto_goes_by_the_quality(tmp_path: Path, model: Path, capsys) -> None:
    folder, facts = tmp_path / "in", tmp_path / "f.json"
    folder.mkdir()
    for quality in (30, LOW_QUALITY, LOW_QUALITY + 1):
        photo(folder / f"{quality}.jpg", quality=quality, size=(24, 40))
    Image.fromarray(noise_picture(24, 40)).save(folder / "a.png")
    common = ["upscale", folder, "--model", model, "--device", "cpu"]
    assert run(*common, "-o", tmp_path / "out", "--restore", "auto", "--json", facts) == 0
    told = {Path(each["input"]).name: each["restored"] for each in json.loads(facts.read_text())}
    assert told == {
        "30.jpg": True,
        f"{LOW_QUALITY}.jpg": True,
        f"{LOW_QUALITY + 1}.jpg": False,
        "a.png": False,
    }
    said = capsys.readouterr().err
    assert said.count("restored by s-jpeg before it is enlarged; --restore off leaves it as it is") == 1
    assert "looks better" not in said
    assert run(*common, "-o", tmp_path / "plain", "--restore", "off", "--json", facts, "--overwrite") == 0
    assert not any(each["restored"] for each in json.loads(facts.read_text()))
    assert "--restore auto" in capsys.readouterr().err, "the hint, once"


def test_the_restored_picture_is_what_the_model_makes_of_it_in_python(tmp_path: Path, model: Path) -> None:
    source = photo(tmp_path / "a.jpg", size=(40, 56))
    upscaler, restorer = (camixersr.load(each, device="cpu") for each in (str(model), RESTORER))
    expected = upscaler.upscale(restorer.upscale(pixels(source)))
    got = upscaler.upscale(source, restore="auto")
    assert np.array_equal(got.pixels, expected)
    assert np.array_equal(upscaler.upscale(pixels(source), restore="on"), expected)
    plain = upscaler.upscale(pixels(source))
    assert np.array_equal(upscaler.upscale(pixels(source), restore="auto"), plain), (
        "an array tells no quality"
    )
    upscaler.upscale_file(source, tmp_path / "b.png", options=Options(restore="on"))
    assert np.array_equal(pixels(tmp_path / "b.png"), expected)
    whole = camixersr.upscale(str(source), model=str(model), device="cpu", restore="auto")
    assert isinstance(whole, Picture)
    assert np.array_equal(whole.pixels, expected)
    denoised = upscaler.upscale(camixersr.restore(pixels(source), model=DENOISER, device="cpu"))
    assert np.array_equal(upscaler.upscale(pixels(source), restore="noise"), denoised)
    assert not np.array_equal(denoised, expected)
    with pytest.raises(UsageError, match="unknown --restore 'always'"):
        upscaler.upscale(source, restore="always")  # pyright: ignore[reportArgumentType, reportCallIssue]


def computers() -> tuple[TensorComputer, TensorComputer]:
    """A model that enlarges and one that restores, both tiny."""
    one = Model("tiny", random_network(channels=8, scale=2, blocks=(1,)))
    network = random_network(channels=8, scale=1, blocks=(1,), seed=1)
    two = Model("mends", network, restores=Degradation("jpeg", 10, 60), sha256="abc")
    return TensorComputer(one, device="cpu", tile=64), TensorComputer(two, device="cpu", tile=64)


def test_transparency_is_not_restored(tmp_path: Path) -> None:
    up, restorer = computers()
    low = Picture(noise_picture(40, 56), noise_picture(40, 56, seed=3)[:, :, 0])
    cost, high = enlarge(up, low, restorer=restorer)
    plain, as_it_was = enlarge(up, low)
    assert high.alpha is not None
    assert as_it_was.alpha is not None
    assert np.array_equal(high.alpha, as_it_was.alpha)
    assert not np.array_equal(high.pixels, as_it_was.pixels)
    assert cost is not None
    assert plain is not None
    assert cost.macs > plain.macs


@pytest.mark.parametrize("part", ["restoring", ""])
def test_an_interrupted_job_goes_on_in_either_step(tmp_path: Path, part: str) -> None:
    source = photo(tmp_path / "a.jpg", size=(150, 210))
    up, restorer = computers()
    options = Options(restore="on")
    whole = enlarge_file(up, source, tmp_path / "whole.png", options, restorer=restorer)
    target, folder = tmp_path / "o.png", tmp_path / ".o.png.camixersr"
    journal = folder / part / "journal"

    def stop() -> bool:
        return journal.exists() and journal.read_bytes().count(b"\n") >= 4

    with pytest.raises(CancelledError):
        enlarge_file(up, source, target, options, restorer=restorer, keep=True, cancel=stop)
    assert journal.exists()
    told: list[tuple[int, int]] = []
    again = enlarge_file(
        up,
        source,
        target,
        options,
        restorer=restorer,
        resume=True,
        progress=lambda done, total: told.append((done, total)),
    )
    assert target.read_bytes() == (tmp_path / "whole.png").read_bytes()
    assert (again.resumed > 0) == (part == "")
    assert (again.cost.macs, again.cost.tiles) == (whole.cost.macs, whole.cost.tiles)
    assert not folder.exists()
