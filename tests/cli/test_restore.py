"""`camixersr restore` as a user meets it, and the commands that score and audit a model that restores."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import camixersr
from camixersr.errors import UsageError
from camixersr.image.decode import read
from camixersr.image.degradation import Degradation, compress
from camixersr.metrics import luma, psnr
from camixersr.models.calibration import Calibration
from camixersr.weights import Model, load_file, save
from tests.conftest import noise_picture, random_network, run

JPEG, NOISE = Degradation("jpeg", 10, 60), Degradation("noise", 5, 55)


def tiny(restores: Degradation = JPEG) -> Model:
    network = random_network(channels=8, scale=1, blocks=(1, 1))
    network.tail.weight.mul_(0.2)
    network.tail.bias.add_(0.4)
    return Model("tiny", network, Calibration((0.5,), ((0.5, 0.5),)), restores=restores)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "models" / "tiny.safetensors"
    path.parent.mkdir()
    save(path, tiny())
    return path


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a.jpg"
    Image.fromarray(noise_picture(40, 56)).save(path, quality=30)
    return path


def test_a_picture_comes_back_in_its_size_and_format(picture: Path, model: Path, capsys) -> None:
    facts = picture.with_name("a.json")
    assert run("restore", picture, "--model", model, "--json", facts) == 0
    out = capsys.readouterr()
    result = picture.with_name("a_restored.jpg")
    with Image.open(result) as stored:
        assert (stored.format, stored.size) == ("JPEG", (56, 40))
    assert out.err == ""
    assert out.out.startswith(f"{result}: 56 x 40, ")
    told = json.loads(facts.read_text())
    assert told["restores"] == {"kind": "jpeg", "least": 10, "most": 60}
    assert told["quality"] == 30
    assert (told["scale"], told["low_size"], told["high_size"]) == (1, [56, 40], [56, 40])


def test_the_command_the_function_and_the_network_agree(picture: Path, model: Path) -> None:
    assert run("restore", picture, "--model", model, "--format", "png", "--attention-ratio", 0.5) == 0
    result = read(picture.with_name("a_restored.png")).pixels
    given = np.asarray(Image.open(picture))
    assert np.array_equal(result, camixersr.restore(given, model=str(model), device="cpu"))
    low = given.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
    import torch

    whole = load_file(model)
    high = whole.network(torch.from_numpy(low), whole.policy(0.5))[0].clamp(0, 1).permute(1, 2, 0)
    assert np.abs(result - 255 * high.numpy()).max() <= 0.51
    assert not np.array_equal(result, given)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16"])
def test_depth_channels_and_transparency_stay(tmp_path: Path, model: Path, mode: str) -> None:
    source, target = tmp_path / "a.png", tmp_path / "o.png"
    if mode == "I;16":
        Image.fromarray(noise_picture(40, 56)[..., 0].astype(np.uint16) * 257).save(source)
    else:
        Image.fromarray(noise_picture(40, 56)).convert(mode).save(source)
    if "A" in mode:
        picture = Image.open(source)
        picture.putalpha(Image.fromarray(noise_picture(40, 56, 1, seed=3)[..., 0]))
        picture.save(source)
    assert run("restore", source, "--model", model, "-o", target) == 0
    before, after = read(source), read(target)
    assert (after.depth, after.pixels.shape) == (before.depth, before.pixels.shape)
    if "A" in mode:
        assert before.alpha is not None
        assert np.array_equal(before.alpha, after.alpha)
    assert not np.array_equal(before.pixels, after.pixels)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_streaming_tiles_and_the_whole_agree(tmp_path: Path, model: Path, mode: str) -> None:
    """The same windows in tiles, from memory and from the disk: the grid of blocks is never lost."""
    source = tmp_path / "a.png"
    picture = Image.fromarray(compress(noise_picture(170, 230), 20))
    if mode == "RGBA":
        picture.putalpha(Image.fromarray(noise_picture(170, 230, 1, seed=3)[..., 0]))
    picture.save(source)
    how = ("--model", model, "--tile", 64)
    assert run("restore", source, *how, "-o", tmp_path / "tiles.png") == 0
    assert run("restore", source, *how, "--memory", "3GB", "-o", tmp_path / "streamed.png") == 0
    assert run("restore", source, "--model", model, "--tile", 0, "-o", tmp_path / "whole.png") == 0
    tiles, streamed, whole = (read(tmp_path / f"{name}.png") for name in ("tiles", "streamed", "whole"))
    assert np.array_equal(tiles.pixels, streamed.pixels)
    # pooled over parts or at once, and convolved in other orders: last bits, rounded
    assert np.abs(tiles.pixels.astype(int) - whole.pixels).max() <= 2
    if mode == "RGBA":
        alpha = read(source).alpha
        assert all(np.array_equal(each.alpha, alpha) for each in (tiles, streamed, whole))


def test_a_folder_with_route_maps_and_standard_streams(
    tmp_path: Path, picture: Path, model: Path, capsysbinary, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("one.jpg", "two.jpg"):
        (folder / name).write_bytes(picture.read_bytes())
    maps = tmp_path / "maps"
    assert run("restore", folder, "-o", tmp_path / "out", "--model", model, "--route-map", maps) == 0
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"one_restored.jpg", "two_restored.jpg"} <= made
    assert len(list(maps.iterdir())) == 2
    capsysbinary.readouterr()
    stdin = type("Stdin", (), {"buffer": io.BytesIO(picture.read_bytes())})()
    monkeypatch.setattr("sys.stdin", stdin)
    assert run("restore", "-", "--model", model) == 0
    with Image.open(io.BytesIO(capsysbinary.readouterr().out)) as result:
        assert result.size == (56, 40)


@pytest.mark.parametrize(("quality", "remark"), [(92, "may soften it"), (3, "may not mend it all")])
def test_a_quality_that_the_model_never_saw_is_remarked(
    tmp_path: Path, model: Path, capsys, quality: int, remark: str
) -> None:
    Image.fromarray(noise_picture(40, 56)).save(tmp_path / "b.jpg", quality=quality)
    assert run("restore", tmp_path / "b.jpg", "--model", model) == 0
    said = capsys.readouterr().err
    assert f"a JPEG of quality {quality}; tiny learnt from 10 to 60" in said
    assert remark in said


def test_either_command_refuses_the_others_models(picture: Path, model: Path, capsys) -> None:
    assert run("upscale", picture, "--model", model) == 2
    assert (
        "tiny restores (JPEG artefacts, quality 10 to 60) and does not enlarge" in capsys.readouterr().err
    )
    assert run("restore", picture, "--model", "s-x4") == 2
    assert "s-x4 enlarges x4 and restores nothing; use `camixersr upscale`" in capsys.readouterr().err
    assert {path.name for path in picture.parent.iterdir()} == {"a.jpg", "models"}
    with pytest.raises(UsageError, match=r"use camixersr\.restore"):
        camixersr.upscale(noise_picture(8, 8), model=str(model))
    with pytest.raises(UsageError, match=r"use camixersr\.upscale"):
        camixersr.restore(noise_picture(8, 8), model="s-x4")


def test_a_file_of_weights_keeps_what_it_restores(tmp_path: Path, model: Path, capsys) -> None:
    loaded = load_file(model)
    assert loaded.restores == JPEG
    save(tmp_path / "again.safetensors", loaded)
    assert load_file(tmp_path / "again.safetensors").restores == JPEG
    assert run("models", "show", model) == 0
    assert "restores: JPEG artefacts, quality 10 to 60" in capsys.readouterr().out


def test_restoration_is_scored_beside_its_input(tmp_path: Path, model: Path, capsys) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for number in range(2):
        Image.fromarray(noise_picture(48, 56, seed=number)).save(folder / f"{number}.png")
    facts = tmp_path / "e.json"
    assert run("evaluate", "--model", model, "--data", folder, "--quality", 20, 40, "--json", facts) == 0
    rows = json.loads(facts.read_text())["rows"]
    assert [(row["set"], row["model"]) for row in rows] == [
        (f"set quality {quality}", name) for quality in (20, 40) for name in ("input", "tiny")
    ]
    for row, quality in ((rows[0], 20), (rows[2], 40)):
        for score in row["images"]:
            high = np.asarray(Image.open(folder / f"{score['name']}.png"))
            low = compress(high, quality)
            assert score["psnr"] == pytest.approx(psnr(luma(low), luma(high)))
            assert score["rgb"] == pytest.approx(psnr(low, high))
            assert score["psnr_b"] <= score["psnr"]
    protocol = json.loads(facts.read_text())["protocol"]
    assert (protocol["protocol"], protocol["border"], protocol["scale"]) == ("restoration", 0, 1)
    assert "PSNR-B" in capsys.readouterr().out


def test_restoration_is_scored_on_pairs_and_on_noise(tmp_path: Path, capsys) -> None:
    path = tmp_path / "noise.safetensors"
    save(path, replace(tiny(NOISE), name="quiet"))
    for part, seed in (("high", 0), ("low", 1)):
        (tmp_path / "set" / part).mkdir(parents=True)
        Image.fromarray(noise_picture(48, 56, seed=seed)).save(tmp_path / "set" / part / "a.png")
    assert run("evaluate", "--model", path, "--data", tmp_path / "set", "--json", tmp_path / "a.json") == 0
    row = json.loads((tmp_path / "a.json").read_text())["rows"][0]
    one, two = noise_picture(48, 56, seed=1), noise_picture(48, 56, seed=0)
    assert row["psnr"] == pytest.approx(psnr(luma(one), luma(two)))
    originals = tmp_path / "set" / "high"
    how = ("evaluate", "--model", path, "--data", originals)
    noisy = [tmp_path / "b.json", tmp_path / "c.json"]
    for out in noisy:
        assert run(*how, "--sigma", 25, "--json", out) == 0
    one, two = (json.loads(out.read_text())["rows"][0] for out in noisy)
    assert one["psnr"] == two["psnr"], "the noise is the same every time"
    assert one["mean"]["rgb"] == pytest.approx(20 * np.log10(255 / 25), abs=0.3)  # hardly any is clipped
    capsys.readouterr()
    assert run(*how) == 3
    assert "say how to make one, with --quality or --sigma" in capsys.readouterr().err
    assert run(*how, "--quality", 20) == 2
    assert "--quality is not for quiet, which restores Gaussian noise" in capsys.readouterr().err
    assert run("evaluate", "--model", "s-x4", "--data", originals, "--sigma", 25) == 2
    assert "--sigma is not for s-x4, which enlarges x4" in capsys.readouterr().err
    assert run(*how, "--sigma", 25, "--protocol", "classic") == 2
    assert "restoration goes with scale 1 alone" in capsys.readouterr().err


def test_routing_is_audited_on_compressed_originals(tmp_path: Path, model: Path, capsys) -> None:
    for number in range(2):
        Image.fromarray(noise_picture(48, 64, seed=number)).save(tmp_path / f"{number}.png")
    inputs = sorted(tmp_path.glob("*.png"))
    facts = tmp_path / "r.json"
    how = ("--model", model, "--quality", 20, "--gain", "--json", facts)
    assert run("routes", *inputs, *how) == 0
    told = json.loads(facts.read_text())
    assert told["degradation"] == "JPEG artefacts, quality 20"
    assert all(block["gain"] is not None for block in told["audit"]["blocks"])
    capsys.readouterr()
    assert run("routes", *inputs, "--model", model, "--quality", 20, "--high", tmp_path) == 2
    assert "--quality and --high exclude each other" in capsys.readouterr().err
