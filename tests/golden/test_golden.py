"""The authors' network, reproduced: its stored outputs, replaying the windows it kept."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from camixersr.models import CAMixerSR, Network, OmniCAMixerSR
from camixersr.models.fixed import FixedWindows
from camixersr.models.shapes import infer_config
from camixersr.official import rename_official
from camixersr.weights import load_file as load_model
from tests.conftest import SHARED, shared

FILES = sorted((SHARED / "golden").glob("*.safetensors"))
OFFICIAL = [file.name for file in FILES if file.name.startswith("official")]
OMNI = [file.name for file in FILES if file.name.startswith("random_omni")]
RANDOM = [file.name for file in FILES if file.name.startswith("random_x")]


def test_the_goldens_are_at_hand() -> None:
    shared("golden")
    assert len(OFFICIAL) == 6
    assert len(RANDOM) == 3
    assert len(OMNI) == 2


def _compare(network: Network, low: Tensor, golden: dict[str, Tensor], tolerance: float) -> None:
    masks: list[Tensor] = []
    for number in range(network.block_count):
        mask = torch.zeros_like(golden[f"block{number:02d}.score"], dtype=torch.bool)
        mask[0, golden[f"block{number:02d}.kept"][0].long()] = True
        masks.append(mask)
    high, routing = network.route(low, FixedWindows(tuple(masks)))
    assert (high - golden["high"]).abs().max() <= tolerance
    for number, block in enumerate(routing.blocks):
        assert (block.scores - golden[f"block{number:02d}.score"]).abs().max() <= 1e-5


@pytest.mark.parametrize("name", OFFICIAL)
def test_the_authors_weights(name: str) -> None:
    golden = load_file(shared(f"golden/{name}"))
    network = load_model(shared("official/CAMixerSR_S.pth")).network
    low = golden["low"].permute(2, 0, 1)[None].float() / 255.0
    _compare(network, low, golden, 2e-5)


@pytest.mark.parametrize("name", RANDOM)
def test_random_networks_at_every_scale(name: str) -> None:
    path = shared(f"golden/{name}")
    golden = load_file(path)
    with safe_open(path, framework="pt") as file:
        facts = file.metadata()
    tensors = rename_official(
        {key.removeprefix("weights."): value for key, value in golden.items() if key.startswith("weights.")}
    )
    config = infer_config(tensors, Path(name))
    assert config.scale == int(facts["scale"])
    assert config.channels == int(facts["n_feats"])
    assert list(config.blocks) == json.loads(facts["n_block"])
    network = CAMixerSR(config).eval().requires_grad_(False)
    own = network.state_dict()
    assert own.keys() == tensors.keys()
    network.load_state_dict({key: value.reshape(own[key].shape) for key, value in tensors.items()})
    _compare(network, golden["low"], golden, 1e-4 * float(golden["high"].abs().max()))


@pytest.mark.parametrize("name", OMNI)
def test_random_omnidirectional_networks_from_the_authors_format(name: str, tmp_path: Path) -> None:
    """Through a checkpoint as they save it: `params_ema` in a .pth, under their names."""
    path = shared(f"golden/{name}")
    golden = load_file(path)
    with safe_open(path, framework="pt") as file:
        facts = file.metadata()
    weights = {
        key.removeprefix("weights."): value for key, value in golden.items() if key.startswith("weights.")
    }
    checkpoint = tmp_path / "omni.pth"
    worse = {key: value + 1.0 for key, value in weights.items()}
    torch.save({"params": worse, "params_ema": weights}, checkpoint)
    network = load_model(checkpoint).network
    assert isinstance(network, OmniCAMixerSR)
    assert network.config.scale == int(facts["scale"])
    assert network.config.channels == int(facts["n_feats"])
    assert list(network.config.blocks) == json.loads(facts["n_block"])
    low = torch.cat((golden["low"], golden["condition"]), dim=1)
    _compare(network, low, golden, 1e-4 * float(golden["high"].abs().max()))
