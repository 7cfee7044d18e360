"""Networks of one's own in the trainer, and parts put out of action."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file as load_tensors
from torch import Tensor, nn

from camixersr.errors import CheckpointError, InputError, ValueRangeError
from camixersr.models import (
    PRESETS,
    Backbone,
    BackboneConfig,
    CAMixerSR,
    CAMixerSRConfig,
    OmniCAMixerSR,
    OmniCAMixerSRConfig,
)
from camixersr.models.network import pad_to_windows
from camixersr.nn import CAMixer, Policy, Routing, TopShare
from camixersr.nn.layers import conv2d
from camixersr.train.initialise import ends, initialise_linear
from camixersr.train.parts import PARTS, disable
from camixersr.train.recipe import Recipe, load_recipe
from camixersr.weights import load_file
from tests.train.test_train import folder, recipe, run, tiny  # noqa: F401


@dataclass(frozen=True, kw_only=True)
class OwnConfig(BackboneConfig):
    channels: int = 12
    mixers: int = 1


class Own(Backbone):
    """A convolution, some mixers; with the house's ends or with others."""

    def __init__(self, config: OwnConfig = OwnConfig(), *, tail: str = "tail") -> None:
        super().__init__()
        self.config = config
        C, s = config.channels, config.scale
        self.head = nn.Conv2d(3, C, 3, padding=1)
        self.body = nn.Conv2d(C, C, 3, padding=1)
        self.mixers = nn.ModuleList(CAMixer(C, window=config.window) for _ in range(config.mixers))
        self.body_tail = nn.Conv2d(C, C, 3, padding=1)
        self.last = tail
        self.add_module(tail, nn.Conv2d(C, 3 * s * s, 3, padding=1))

    def route(self, low: Tensor, policy: Policy) -> tuple[Tensor, Routing]:
        image = pad_to_windows(low, self.config.window).permute(0, 2, 3, 1)
        x = conv2d(self.head, image)
        y = x + conv2d(self.body, x)
        condition = y.new_zeros(*y.shape[:3], 4)
        decided = []
        for number, mixer in enumerate(self.mixers):
            mixed, routing = mixer(y, condition, policy, block=number)
            y = y + mixed
            decided.append(routing)
        high = conv2d(self.get_submodule(self.last), conv2d(self.body_tail, y) + x).permute(0, 3, 1, 2)
        high = F.pixel_shuffle(high, self.config.scale)
        s, (h, w) = self.config.scale, low.shape[2:]
        return high[..., : s * h, : s * w], Routing(y.shape[1] // 16, y.shape[2] // 16, tuple(decided))


@pytest.mark.parametrize("mixers", [0, 2])
@pytest.mark.parametrize("routing", ["detail", "gain"])
def test_a_network_of_ones_own_is_trained(folder: Path, tmp_path: Path, mixers: int, routing) -> None:  # noqa: F811
    network = Own(OwnConfig(mixers=mixers))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    plan = recipe(folder, tmp_path, routing=routing, validate_every=4)
    file = run(plan, network=network)
    assert file == tmp_path / "own.safetensors"
    after = load_tensors(file)
    assert after.keys() == before.keys()
    assert not torch.equal(after["body.weight"], before["body.weight"]), "it has learnt"
    again = Own(OwnConfig(mixers=mixers)).eval()
    again.load_state_dict(after)
    low = torch.rand(1, 3, 20, 37)
    assert again(low).shape == (1, 3, 80, 148)
    assert torch.equal(again(low), network(low))
    with pytest.raises(CheckpointError, match=r"its network, Own, is somebody's own"):
        load_file(file)


def test_a_network_of_ones_own_continues_from_its_weights(folder: Path, tmp_path: Path) -> None:  # noqa: F811
    first = run(recipe(folder, tmp_path / "one"), network=Own())
    still = {"steps": 1, "learning_rate": 1e-9, "matrix_rate": 1e-9}
    second = run(recipe(folder, tmp_path / "two", start=str(first), **still), network=Own())
    one, two = load_tensors(first), load_tensors(second)
    assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)
    with pytest.raises(CheckpointError, match="expected weights of Own"):
        run(recipe(folder, tmp_path / "three", start=str(first)), network=Own(OwnConfig(mixers=2)))
    with pytest.raises(InputError, match="without"):
        run(recipe(folder, tmp_path / "four", without=("offsets",)), network=Own())
    with pytest.raises(InputError, match="expected the network's window, 16, got 8"):
        run(recipe(folder, tmp_path / "five", window=8), network=Own())


def test_ends_of_other_names_start_as_they_come() -> None:
    low, high = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 64, 64)
    usual, unusual = Own(), Own(tail="exit")
    assert ends(usual) == (usual.head, usual.body_tail, usual.tail)
    assert ends(unusual) is None
    initialise_linear(usual, low, high)
    assert not usual.body_tail.weight.any(), "the body is switched off at first"


def test_networks_with_other_ends_train(folder: Path, tmp_path: Path) -> None:  # noqa: F811
    assert run(recipe(folder, tmp_path), network=Own(tail="exit")).is_file()


def classic() -> CAMixerSR:
    torch.manual_seed(3)
    return CAMixerSR(CAMixerSRConfig(channels=12, scale=2, blocks=(2,)))


@pytest.mark.parametrize("part", PARTS)
def test_a_part_put_out_does_nothing(part) -> None:
    network = classic()
    disable(network, (part,))
    seen = []
    for block in network.body[0].blocks:
        block.mixer.predictor.register_forward_hook(lambda _, given, out: seen.append((given, out)))
    network(torch.rand(1, 3, 32, 32), TopShare(0.5))
    assert len(seen) == 2
    for (_, condition), guidance in seen:
        out = {
            "offsets": not guidance.offsets.any(),
            "spatial": bool((guidance.spatial == 1.0).all()),
            "channel": bool((guidance.channel == 1.0).all()),
            "condition": not condition[..., :2].any(),
        }
        assert [name for name in PARTS if out[name]] == [part], "this part and no other"


def test_nothing_put_out_changes_nothing() -> None:
    network = classic()
    disable(network, ())
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), classic().parameters(), strict=True))
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.usefixtures("tiny")
def test_a_part_stays_out_through_training(folder: Path, tmp_path: Path) -> None:  # noqa: F811
    plan = recipe(folder, tmp_path, model="tiny", without=PARTS, weight_decay=0.5)
    network = load_file(run(plan)).network
    assert isinstance(network, CAMixerSR)
    fresh = CAMixerSR(PRESETS["tiny"])
    disable(fresh, PARTS)
    still = {name for name, parameter in fresh.named_parameters() if not parameter.requires_grad}
    assert len(still) == 2 * 2 * 3 + 2, "weight and bias of three parts in two blocks, and of the condition"
    trained = dict(network.named_parameters())
    for name, parameter in fresh.named_parameters():
        # what is left of the predictor serves the scores alone, which teach nothing before themselves
        if ".predictor.project_in." not in name and ".predictor.norm." not in name:
            assert torch.equal(parameter, trained[name]) == (name in still), name


def test_omnidirectional_networks_keep_their_parts() -> None:
    network = OmniCAMixerSR(OmniCAMixerSRConfig(channels=12, scale=2, blocks=(1,)))
    disable(network, ())
    with pytest.raises(InputError, match="OmniCAMixerSR is none"):
        disable(network, ("offsets",))


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("window", [8, 32])
def test_a_recipe_may_ask_for_another_window(folder: Path, tmp_path: Path, window: int) -> None:  # noqa: F811
    plan = recipe(folder, tmp_path, model="tiny", window=window, patch=32)
    assert load_file(run(plan)).config == CAMixerSRConfig(12, 4, (1, 1), window, pool=plan.patch)


@pytest.mark.usefixtures("tiny")
def test_shares_are_drawn_from_the_recipes_range(
    folder: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("lightning", reason="needs the extra `train`: lightning is not installed")
    from camixersr.train.module import Training
    from camixersr.train.photos import load_photos

    photos = load_photos(sorted((folder / "photos").glob("*.png")), tmp_path, smallest=80)
    for shares in ((0.0, 1.0), (0.25, 0.25), (0.5, 0.75)):
        plan = recipe(folder, tmp_path, model="tiny", attention_first=0.0, shares=shares)
        training = Training(CAMixerSR(PRESETS["tiny"]), plan, photos, [])
        drawn = []
        for step in range(50):
            monkeypatch.setattr(Training, "global_step", step)
            drawn.append(training._share())
        assert shares[0] <= min(drawn) <= max(drawn) <= shares[1]
        assert len(set(drawn)) == (1 if shares[0] == shares[1] else 50)


def test_recipes_say_what_is_wrong_with_an_ablation(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    good = 'photos = "a"\noutput = "c"\n'
    path.write_text(good + 'without = ["offsets", "channel"]\nwindow = 8\npatch = 24\nshares = [0, 0.5]\n')
    wanted = {"without": ("offsets", "channel"), "window": 8, "patch": 24, "shares": (0, 0.5)}
    assert load_recipe(path) == Recipe(photos="a", output="c", **wanted)
    for text, error, said in [
        ('without = ["colour"]', InputError, "without should be"),
        ("window = 32", ValueRangeError, "patch must be a multiple of 32"),
        ("window = 0", ValueRangeError, "window must be at least 1"),
        ("shares = [0.5]", ValueRangeError, "shares must be two ascending numbers"),
        ("shares = [0.6, 0.5]", ValueRangeError, "shares must be two ascending numbers"),
    ]:
        path.write_text(good + text + "\n")
        with pytest.raises(error, match=said):
            load_recipe(path)
