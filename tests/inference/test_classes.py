"""A ClassSR in the tile engine: the same picture whole, in tiles, streamed, around a sphere, by command."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from camixersr.backends.choose import make
from camixersr.cli import main
from camixersr.enlarge.disk import enlarge_file
from camixersr.enlarge.options import Options
from camixersr.errors import CheckpointError, UsageError
from camixersr.image.panorama import Panorama
from camixersr.models import Classes, PatchClassifier
from camixersr.models.calibration import Calibration
from camixersr.models.classes import ByClass
from camixersr.models.classsr import windows_of
from camixersr.nn import TopShare
from camixersr.operations import count, count_classifier
from camixersr.tensors import from_array
from camixersr.weights import Model, load_file, save
from tests.conftest import TensorComputer, noise_picture, random_network

PICTURE = noise_picture(150, 210)
LOW = from_array(PICTURE)


def classifier(low: torch.Tensor = LOW) -> PatchClassifier:
    """One that knows three kinds of patches in `low`, as random ones do not by themselves."""
    torch.manual_seed(2)
    result = PatchClassifier().eval().requires_grad_(False)
    logits = result(low[None])[0].flatten(1)
    scale = 1.0 / logits.std(dim=1)
    result.out.weight.mul_(scale[:, None])
    result.out.bias.sub_(logits.mean(dim=1)).mul_(scale)
    assert len(result.classes(low[None]).unique()) == 3
    return result


def model(ratios: tuple[float, ...] = (0.0, 0.5, 1.0)) -> Model:
    network = random_network(channels=8, blocks=(1, 1))
    _, routing = network.route(LOW[None], TopShare(0.5))
    half = tuple(float(block.scores.quantile(0.8)) for block in routing.blocks)  # the plain ones are alike
    calibration = Calibration((0.5,), (half,))
    return Model("classes", network, calibration, classes=Classes(classifier(), ratios))


def upscaler(ratios: tuple[float, ...] = (0.0, 0.5, 1.0), **options) -> TensorComputer:
    return TensorComputer(model(ratios), device="cpu", **options)


def test_a_whole_picture_is_the_network_with_its_classes() -> None:
    own = model()
    result = upscaler().run(LOW)
    assert own.classes is not None
    patches = own.classes.classifier.classes(LOW[None])
    policy = ByClass(own.class_policies(0.5), windows_of(patches, 10, 14, 16))
    high, routing = own.network.route(LOW[None], policy)
    torch.testing.assert_close(result.high, high[0], rtol=0, atol=1e-4)
    assert result.classes is not None
    assert result.classes.tolist() == policy.classes.view(10, 14).tolist()
    assert result.shares[result.classes == 0].max() == 0.0
    assert result.shares[result.classes == 2].min() == 1.0
    expected = count(own.config, windows=140, attended=int(routing.attended.sum())).total
    assert result.macs == expected + count_classifier(35)


def test_the_classifier_is_counted_as_torch_counts_it() -> None:
    with FlopCounterMode(display=False) as counter:
        PatchClassifier()(torch.rand(1, 3, 64, 96))
    assert counter.get_total_flops() == 2 * count_classifier(6)


def test_equal_ratios_are_the_plain_model() -> None:
    with_classes = upscaler((0.5, 0.5, 0.5), tile=64).run(LOW)
    plain = TensorComputer(replace(model(), classes=None), device="cpu", tile=64).run(LOW)
    assert torch.equal(with_classes.high, plain.high)
    assert with_classes.macs == plain.macs + count_classifier(35)
    for dial in (0.0, 1.0):
        one, two = (up.run(LOW, attention_ratio=dial) for up in (upscaler(), upscaler((0.5, 0.5, 0.5))))
        assert torch.equal(one.high, two.high)
        assert one.attention_share == dial


def test_tiles_agree_with_the_whole() -> None:
    whole, tiled = upscaler(tile=0).run(LOW), upscaler(tile=64).run(LOW)
    assert tiled.tiles > 1
    assert np.array_equal(whole.classes, tiled.classes)
    # what channel attention knows is estimated from a sample; so far, and no further, they differ
    plain = TensorComputer(replace(model(), classes=None), device="cpu", tile=0).run(LOW).high
    cut = TensorComputer(replace(model(), classes=None), device="cpu", tile=64).run(LOW).high
    allowed = 2.0 * float((plain - cut).abs().max())
    assert float((whole.high - tiled.high).abs().max()) < max(allowed, 0.01)
    assert (tiled.shares[tiled.classes == 0] == 0.0).all()
    assert (tiled.shares[tiled.classes == 2] == 1.0).all()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 40), (33, 31), (64, 17)])
def test_any_size_can_be_classified(height: int, width: int) -> None:
    up, low = upscaler(), from_array(noise_picture(height, width))
    result = up.run(low)
    assert result.high.shape == (3, 2 * height, 2 * width)
    assert result.classes is not None
    assert result.classes.shape == (-(-height // 16), -(-width // 16))
    assert torch.equal(result.high, up.run(low).high)


def test_strips_classify_as_the_whole_does(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = upscaler().run(LOW).classes
    monkeypatch.setattr("camixersr.inference.plan.STRIP", 1)
    assert np.array_equal(upscaler().run(LOW).classes, whole)


def test_a_share_of_windows_is_a_limit_still() -> None:
    result = upscaler((1.0, 1.0, 1.0), tile=64).run(LOW, max_share=0.25)
    assert result.attention_share <= 0.25


def test_a_panorama_is_classified_too() -> None:
    low = from_array(noise_picture(96, 192))
    result = upscaler(tile=64).run(low, panorama=Panorama.whole(96, 192))
    assert result.high.shape == (3, 192, 384)
    assert result.classes is not None
    assert result.classes.shape == (6, 12)


def test_a_streamed_picture_is_the_picture(tmp_path: Path) -> None:
    source, target, up = tmp_path / "a.png", tmp_path / "o.png", upscaler(tile=64)
    Image.fromarray(PICTURE).save(source)
    streamed = enlarge_file(up, source, target, Options())
    expected = up.run(LOW)
    assert np.array_equal(streamed.cost.classes, expected.classes)
    assert (streamed.cost.macs, streamed.cost.tiles) == (expected.macs, expected.tiles)
    got = from_array(np.asarray(Image.open(target)))
    assert float((got - expected.high.clamp(0, 1)).abs().max()) < 0.51 / 255
    assert enlarge_file(up, source, target, Options(seconds=1000.0)).attention_ratio == 1.0


def test_a_file_holds_all_of_it(tmp_path: Path) -> None:
    path, before = tmp_path / "m.safetensors", model((0.1, 0.2, 0.9))
    save(path, before)
    after = load_file(path)
    assert after.classes is not None
    assert after.classes.ratios == (0.1, 0.2, 0.9)
    assert after.parameters == before.parameters
    assert torch.equal(
        TensorComputer(after, device="cpu").run(LOW).high, upscaler((0.1, 0.2, 0.9)).run(LOW).high
    )
    assert before.classes is not None
    one, two = (each.classes.classifier.state_dict() for each in (before, after))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    uncalibrated = replace(model(), calibration=None)
    with pytest.raises(UsageError, match="thresholds"):
        TensorComputer(uncalibrated, device="cpu")
    save(tmp_path / "m.safetensors", uncalibrated)
    with pytest.raises(CheckpointError, match="thresholds"):
        load_file(tmp_path / "m.safetensors")
    pytest.importorskip("onnx", reason="needs the extra `onnx`: onnx is not installed")
    pytest.importorskip("onnxruntime", reason="needs the extra `onnx`: onnxruntime is not installed")
    with pytest.raises(UsageError, match="ClassSR"):
        make(model(), "onnxruntime", device="cpu")
    from camixersr.export.files import export

    with pytest.raises(UsageError, match="ClassSR"):
        export(model(), tmp_path / "m.onnx", to="onnx", photos=[LOW])
    assert not (tmp_path / "m.onnx").exists()


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    save(tmp_path / "m.safetensors", model())
    Image.fromarray(PICTURE).save(tmp_path / "a.png")
    return tmp_path / "a.png", tmp_path / "m.safetensors"


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return int(end.value.code or 0)


@pytest.mark.parametrize("tile", ["0", "64"])
def test_upscale_draws_the_classes_and_tells_their_shares(files: tuple[Path, Path], tile: str) -> None:
    picture, weights = files
    maps, facts = picture.with_name("r.png"), picture.with_name("f.json")
    spill = ("--spill", picture.parent) if tile == "64" else ()
    more = ("--route-map", maps, "--json", facts, "--tile", tile, *spill)
    assert run("upscale", picture, "-o", picture.with_name("o.png"), "--model", weights, *more) == 0
    told = json.loads(facts.read_text())["classes"]
    expected = upscaler().run(LOW).classes
    assert told == [pytest.approx(float((expected == number).mean()), abs=1e-4) for number in range(3)]
    drawn = np.asarray(Image.open(maps))
    assert drawn.shape[0] % 2 == 0
    assert not np.array_equal(*np.split(drawn, 2))


def test_the_other_commands_know_classes(files: tuple[Path, Path], capsys) -> None:
    picture, weights = files
    assert run("models", "show", weights) == 0
    assert "attention_ratios: [0.0, 0.5, 1.0]" in capsys.readouterr().out
    folder = picture.with_name("set")
    (folder / "high").mkdir(parents=True)
    Image.fromarray(noise_picture(128, 192)).save(folder / "high" / "a.png")
    assert run("evaluate", "--model", weights, "--data", folder) == 0
    assert "classes" in capsys.readouterr().out
    assert run("routes", picture, "--model", weights, "-o", picture.with_name("maps")) == 0
    with Image.open(picture.with_name("maps") / "a_routes.png") as drawn:
        assert drawn.height > 2 * 300
    for command in (("upscale", picture), ("evaluate", "--data", folder)):
        assert run(*command, "--model", weights, "--routing", "top-share") == 2
        assert "classes" in capsys.readouterr().err
