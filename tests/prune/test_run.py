"""The command: from a file and a folder to a smaller file that everything loads and trains."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from camixersr.catalogue import find
from camixersr.image.degradation import Degradation
from camixersr.models import PRESETS, CAMixerSRConfig
from camixersr.nn import TopShare
from camixersr.train.calibrate import RATIOS
from camixersr.weights import Model, load_file, save
from tests.conftest import noise_picture, random_network, run, shared


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for number in range(4):
        Image.fromarray(noise_picture(300, 300, seed=number)).save(tmp_path / "photos" / f"{number}.png")
    save(tmp_path / "tiny.safetensors", Model("tiny", random_network(blocks=(1, 1), scale=4), sha256="a1"))
    return tmp_path


def test_a_smaller_file_comes_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = folder / "small.safetensors"
    options = (folder / "tiny.safetensors", "--data", folder / "photos", "-o", target)
    assert run("prune", *options, "--macs", "0.7", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    model = load_file(target)
    assert model.name == "small"
    assert facts["after"]["macs"] <= 0.7 * facts["before"]["macs"]
    assert facts["after"]["parameters"] == model.parameters < facts["before"]["parameters"]
    assert facts["config"]["keys"] == model.config.keys
    assert model.calibration is not None
    assert model.provenance["pruned"].startswith("tiny (sha256 ")
    assert not model.scores
    assert run("prune", *options, "--macs", "0.7") == 3
    assert "--overwrite" in capsys.readouterr().err
    assert run("prune", *options, "--macs", "0.7", "--overwrite") == 0
    again = load_file(target)
    assert (again.config, again.calibration) == (model.config, model.calibration)
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name])
    assert "GMACs" in capsys.readouterr().out


def test_wrong_options_are_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = (folder / "tiny.safetensors", "--data", folder / "photos", "-o", folder / "a.safetensors")
    for wrong, code, words in (
        ((), 2, "expected one of --macs"),
        (("--macs", "0.5", "--seconds", "0.5"), 2, "expected one of --macs"),
        (("--macs", "1.5"), 2, "between 0 and 1"),
        (("--macs", "0.01"), 2, "ask for a greater share"),
        (("--macs", "0.5", "--fine-tune", folder / "none.toml"), 3, "none.toml"),
    ):
        assert run("prune", *options, *wrong) == code, wrong
        message = capsys.readouterr().err.strip().splitlines()[-1]
        assert words in message
    assert run("prune", options[0], "--data", folder / "gone", "--macs", "0.5", "-o", options[-1]) == 3
    assert run("prune", *options[:-1], folder / "a.pth", "--macs", "0.5") == 2
    assert not (folder / "a.safetensors").exists()


def test_panoramic_networks_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from camixersr.models import OmniCAMixerSR, OmniCAMixerSRConfig

    omni = OmniCAMixerSR(OmniCAMixerSRConfig(channels=16, blocks=(1,)))
    save(folder / "omni.safetensors", Model("omni", omni))
    given = (folder / "omni.safetensors", "--data", folder / "photos", "-o", folder / "a.safetensors")
    assert run("prune", *given, "--macs", "0.5") == 2
    assert "only those are pruned" in capsys.readouterr().err


def test_what_a_network_restores_it_restores_still(folder: Path) -> None:
    model = Model("jpeg", random_network(scale=1, blocks=(1,)), restores=Degradation("jpeg", 10, 90))
    save(folder / "jpeg.safetensors", model)
    target = folder / "small.safetensors"
    options = ("--data", folder / "photos", "--macs", "0.8", "-o", target)
    assert run("prune", folder / "jpeg.safetensors", *options) == 0
    assert load_file(target).restores == model.restores


@pytest.mark.filterwarnings("ignore")  # lightning's own, about its future
def test_fine_tuning_keeps_the_shape(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("lightning", reason="needs the extra `train`: lightning is not installed")
    monkeypatch.setitem(PRESETS, "tiny", CAMixerSRConfig(channels=20, scale=4, blocks=(1, 1)))
    recipe = folder / "tune.toml"
    recipe.write_text(
        f'photos = "{folder}/photos"\noutput = "{folder}/run"\nmodel = "tiny"\nsteps = 2\nbatch = 2\n'
        'patch = 16\nwarmup = 1\nvalidate_every = 2\nholdout = 2\noptimizer = "adamw"\n'
    )
    target = folder / "small.safetensors"
    given = (folder / "tiny.safetensors", "--data", folder / "photos", "-o", target, "--macs", "0.7")
    assert run("prune", *given, "--fine-tune", recipe) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(folder / "run" / "small.safetensors")
    start, tuned = load_file(target), load_file(folder / "run" / "small.safetensors")
    assert tuned.config == start.config
    assert tuned.provenance["pruned"] == start.provenance["pruned"]
    assert tuned.provenance["steps"] == "2"
    assert set(tuned.scores) == {f"held out/{ratio:g}" for ratio in (0, *RATIOS, 1)}
    differences = [
        float((one - two).abs().max())
        for one, two in zip(
            start.network.state_dict().values(), tuned.network.state_dict().values(), strict=True
        )
    ]
    assert 0.0 < max(differences) < 0.1


@pytest.mark.slow
def test_the_embedded_model_loses_nothing_by_a_third_of_its_macs(tmp_path: Path) -> None:
    """Scored on photographs of its kind that it was not narrowed by."""
    from camixersr.train.photos import PatchStream, load_photos, reduce

    data = shared("data/train")
    target = tmp_path / "s.safetensors"
    assert run("prune", "s-x4", "--data", data, "--macs", "0.7", "-o", target) == 0
    photos = load_photos(sorted(data.glob("*.avif"))[7::100], tmp_path / "cache", smallest=272)
    stream = PatchStream(photos, scale=4, patch=64, seed=1)
    low, high = reduce(torch.stack([stream.patch(number) for number in range(8)]), 4)
    decibel = [
        float(-10 * (network(low, TopShare(0.5)) - high).square().mean().log10())
        for network in (find("s-x4").network, load_file(target).network)
    ]
    assert decibel[1] >= decibel[0] - 0.02
    assert np.isfinite(decibel).all()
