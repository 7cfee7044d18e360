"""Training a ClassSR: recipe, losses, both phases; and the recipe we ship, at its full length."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from camixersr.cli import main
from camixersr.data import open_set
from camixersr.errors import InputError, ValueRangeError
from camixersr.image.resize import resize
from camixersr.models import CAMixerSR, CAMixerSRConfig, PatchClassifier
from camixersr.models.calibration import Calibration
from camixersr.nn import TopShare
from camixersr.train.class_recipe import ClassRecipe, load_any
from camixersr.train.photos import PatchStream, load_photos
from camixersr.train.recipe import Recipe
from camixersr.weights import Model, load_file, save
from camixersr.weights.model import arrays_of
from tests.conftest import ROOT, TensorComputer, random_network, shared
from tests.train.test_train import scene


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs, a validation set, and a network to start from."""
    root = tmp_path_factory.mktemp("data")
    for part in ("photos", "set/x2/high", "set/x2/low"):
        (root / part).mkdir(parents=True)
    for number in range(4):
        Image.fromarray(scene(160, number)).save(root / "photos" / f"{number}.png")
    high = scene(128, 50)
    Image.fromarray(high).save(root / "set/x2/high/a.png")
    Image.fromarray(resize(high, height=64, width=64)).save(root / "set/x2/low/a.png")
    network = random_network(channels=8, blocks=(1,))
    model = Model("tiny", network, Calibration((0.5,), ((0.5,),)), {"steps": "7"})
    save(root / "tiny.safetensors", model)
    return root


def recipe(folder: Path, output: Path, **changes) -> ClassRecipe:
    base = ClassRecipe(
        photos=str(folder / "photos"),
        validation=str(folder / "set/x2"),
        output=str(output),
        start=str(folder / "tiny.safetensors"),
        name="tiny-classes",
        pieces=6,
        patch=32,
        steps=3,
        batch=4,
        joint_steps=2,
        joint_batch=2,
        holdout=4,
    )
    return replace(base, **changes)


def classify(plan: ClassRecipe, lines: list[str] | None = None) -> Model:
    pytest.importorskip("lightning", reason="needs the extra `train`: lightning is not installed")
    from camixersr.train.classify import classify as run

    return load_file(run(plan, say=(lines if lines is not None else []).append))


def test_a_run_leaves_a_model(folder: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    model = classify(recipe(folder, tmp_path), lines)
    assert model.name == "tiny-classes"
    assert model.classes is not None
    assert model.classes.ratios == (0.0, 0.5, 1.0)
    assert model.calibration is not None
    assert set(model.scores) == {"set/0.25", "set/0.5", "set/0.75"}
    assert "3 of the classifier, 2 of both" in model.provenance["steps"]
    assert any(line.startswith("classifier 3 of 3: pixels") for line in lines)
    assert any(line.startswith("jointly 2 of 2: pixels") for line in lines)
    low = torch.from_numpy(resize(scene(128, 50), height=64, width=64)).permute(2, 0, 1) / 255.0
    assert TensorComputer(model, device="cpu").run(low).high.shape == (3, 128, 128)


def test_the_first_phase_leaves_the_network_alone_and_the_second_does_not(
    folder: Path, tmp_path: Path
) -> None:
    before = load_file(folder / "tiny.safetensors").network.state_dict()
    alone = classify(recipe(folder, tmp_path / "a", joint_steps=0)).network.state_dict()
    assert all(torch.equal(before[name], alone[name]) for name in before)
    both = classify(recipe(folder, tmp_path / "b", joint_rate=1e-3)).network.state_dict()
    assert not all(torch.equal(before[name], both[name]) for name in before)


def test_the_same_recipe_gives_the_same_weights(folder: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    one, two = (classify(recipe(folder, tmp_path / name)) for name in ("a", "b"))
    assert one.classes is not None
    assert two.classes is not None
    for first, second in ((one.network, two.network), (one.classes.classifier, two.classes.classifier)):
        other = second.state_dict()
        assert all(torch.equal(value, other[name]) for name, value in first.state_dict().items())


@pytest.mark.parametrize("phase", ["classifier", "jointly"])
def test_a_stopped_and_resumed_run_ends_with_the_same_weights(
    folder: Path, tmp_path: Path, phase: str
) -> None:
    pytest.importorskip("lightning", reason="needs the extra `train`: lightning is not installed")
    from camixersr.train.classify import classify as train

    def stop(line: str) -> None:
        if line.startswith(f"{phase} 1 of"):
            os.kill(os.getpid(), signal.SIGTERM)

    whole = classify(recipe(folder, tmp_path / "whole", joint_steps=3))
    plan = recipe(folder, tmp_path / "stopped", joint_steps=3)
    with pytest.raises(KeyboardInterrupt):
        train(plan, say=stop)
    assert not (tmp_path / "stopped" / "tiny-classes.safetensors").exists()
    lines: list[str] = []
    resumed = load_file(train(plan, resume=True, say=lines.append))
    assert not any(line.startswith(f"{phase} 1 of") for line in lines)
    assert any(line.startswith("jointly 3 of 3") for line in lines)
    assert whole.classes is not None
    assert resumed.classes is not None
    pairs = ((whole.network, resumed.network), (whole.classes.classifier, resumed.classes.classifier))
    for one, two in pairs:
        other = two.state_dict()
        assert all(torch.equal(value, other[name]) for name, value in one.state_dict().items())


class Halves(CAMixerSR):
    """Right only where attention is off in plain pieces, and on in busy ones."""

    def route(self, low, policy, **_):
        high = low.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        share = policy.share
        busy = (low.std(dim=(1, 2, 3)) > 0.1)[:, None, None, None]
        wrong = torch.where(busy, 1.0 - share, torch.tensor(share))
        return high + 0.05 * wrong, None


@pytest.mark.slow
def test_the_classifier_learns_where_each_class_pays(tmp_path: Path) -> None:
    """Plain pieces are wrong with attention, busy ones without: the losses must find that out."""
    pytest.importorskip("lightning", reason="needs the extra `train`: lightning is not installed")
    from camixersr.train.classes import Alone, Bank, Setup
    from camixersr.train.loop import Loop

    torch.manual_seed(0)
    plan = ClassRecipe(photos="", output="", start="s", name="", steps=120, batch=16, pieces=48)
    network = Halves(CAMixerSRConfig(channels=8, scale=2, blocks=(1,)))
    policies = [TopShare(share) for share in (0.0, 0.5, 1.0)]
    lines: list[str] = []
    low = torch.full((48, 3, 32, 32), 0.5) + 0.02 * torch.randn(48, 3, 1, 1)
    low[24:] += 0.25 * torch.randn(24, 3, 32, 32)
    low = (low.clamp(0, 1) * 255).byte()
    made = torch.stack([network.route(low / 255.0, policy)[0] for policy in policies])
    high = (low / 255.0).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    bank = Bank(low, (high * 255).round().byte(), made.half())
    work = Alone(Setup(network, PatchClassifier(), policies, plan, lines.append), bank)
    assert work.unit == pytest.approx(0.05, rel=0.1)
    Loop(output=tmp_path, steps=plan.steps, every=60, on_cpu=True).run(work, resume=False)
    classes = work.classifier.classes(low / 255.0).flatten()
    assert (classes[:24] < 2).all()
    assert (classes[24:] > 0).all()
    losses = [float(line.split("pixels ")[1].split(",")[0]) for line in lines]
    assert losses[-1] < 0.6 * losses[0]


def test_the_bank_holds_what_each_class_makes(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("lightning", reason="needs the extra `train`: lightning is not installed")
    from camixersr.train.classes import Bank
    from camixersr.train.photos import reduce

    photos = load_photos(sorted((folder / "photos").glob("*.png")), tmp_path, smallest=72)
    stream = PatchStream(photos, scale=2, patch=32, seed=3)
    network = random_network(channels=8, blocks=(1,))
    policies = [TopShare(share) for share in (0.0, 0.5, 1.0)]
    bank = Bank.of([network], policies, stream, 2)
    for number in range(2):
        low, high = reduce(stream.patch(number)[None], 2)
        assert torch.equal(bank.low[number] / 255.0, low[0])
        assert torch.equal(bank.high[number] / 255.0, high[0, :, ::2, ::2])
        for one, policy in zip(bank.made, policies, strict=True):
            made = network(low, policy)[0, :, ::2, ::2]
            torch.testing.assert_close(one[number].float(), made, rtol=0, atol=2e-3)


def test_recipes_of_both_kinds_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('photos = "a"\noutput = "b"\n')
    assert load_any(path) == Recipe(photos="a", output="b")
    good = 'kind = "classsr"\nphotos = "a"\noutput = "b"\nstart = "s-x4"\nname = "n"\n'
    path.write_text(good + "ratios = [0.25, 0.3, 0.5]\n")
    expected = ClassRecipe(photos="a", output="b", start="s-x4", name="n", ratios=(0.25, 0.3, 0.5))
    assert load_any(path) == expected
    for more, error, said in [
        ("ratios = [0.5, 0.25, 1.0]\n", ValueRangeError, "ascending"),
        ("ratios = [0.5, 1.0]\n", ValueRangeError, "3 ascending"),
        ("patch = 48\n", ValueRangeError, "multiple of 32"),
        ("pieces = 0\n", ValueRangeError, "pieces must be at least 1"),
        ("joint_rate = 0\n", ValueRangeError, "joint_rate must be positive"),
        ("pixel_weight = -1\n", ValueRangeError, "must not be negative"),
        ("holdout = 1\n", ValueRangeError, "holdout"),
        ("model = 3\n", InputError, "unknown key model"),
    ]:
        path.write_text(good + more)
        with pytest.raises(error, match=said):
            load_any(path)
    path.write_text(good.replace("classsr", "class"))
    with pytest.raises(InputError, match="unknown kind 'class'"):
        load_any(path)
    path.write_text('kind = "classsr"\nphotos = "a"\n')
    with pytest.raises(InputError, match="missing output, name"):
        load_any(path)


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    return int(end.value.code or 0)


def test_the_command_trains_plans_and_explains(folder: Path, tmp_path: Path, capsys) -> None:
    pytest.importorskip("lightning", reason="needs the extra `train`: lightning is not installed")
    plan, path = recipe(folder, tmp_path / "run"), tmp_path / "r.toml"
    lines = [f"{name} = {json.dumps(value)}" for name, value in vars(plan).items()]
    path.write_text("\n".join(['kind = "classsr"', *lines]))
    assert run("train", path, "--dry-run") == 0
    said = capsys.readouterr().out
    assert "a classifier over tiny, x2" in said
    assert "3 to train on, 1 held out" in said
    assert not (tmp_path / "run").exists()
    assert run("train", path) == 0
    file = tmp_path / "run" / "tiny-classes.safetensors"
    assert capsys.readouterr().out.strip() == str(file)
    assert load_file(file).classes is not None
    path.write_text(path.read_text().replace(str(folder / "tiny.safetensors"), str(file)))
    assert run("train", path) == 3, "there are classes already"


@pytest.mark.slow
def test_the_recipe_we_ship_learns(tmp_path: Path) -> None:
    """A fifth of its pieces: photographs have several classes, at the quality of the model beneath."""
    plan = load_any(ROOT / "recipes" / "classsr-s-x4.toml")
    assert isinstance(plan, ClassRecipe)
    photos, bench = shared("data/train"), shared("data/bench/Set5/x4")
    model = classify(
        replace(
            plan,
            photos=str(photos),
            validation=str(bench),
            output=str(tmp_path),
            limit=60,
            pieces=60,
            steps=300,
            joint_steps=4,
        )
    )
    assert model.scores["Set5/0.5"] > 30.8
    upscaler = TensorComputer(model, device="cpu")
    lows = [pair.read(4)[0].copy() for pair in open_set(bench).pairs]
    results = [upscaler.run(torch.from_numpy(low).permute(2, 0, 1) / 255.0) for low in lows]
    classes = [result.classes for result in results if result.classes is not None]
    assert len(classes) == 5
    assert len(np.unique(np.concatenate([each.flatten() for each in classes]))) > 1


def test_a_classifier_is_trained_over_three_widths(folder: Path, tmp_path: Path) -> None:
    names: list[str] = []
    for width in (8, 10, 12):
        file = tmp_path / f"w{width}.safetensors"
        save(file, Model(file.stem, random_network(channels=width, blocks=(1,), seed=width)))
        names.append(str(file))
    plan = recipe(folder, tmp_path, start="", branches=tuple(names), joint_steps=0, ratios=(0.5, 0.5, 0.5))
    model = classify(plan)
    assert [each.config.channels for each in model.branches] == [8, 10, 12]
    assert model.calibration is None
    assert set(model.scores) == {"set/0.25", "set/0.5", "set/0.75"}
    for each, name in zip(model.branches, names, strict=True):
        before, after = arrays_of(load_file(name).source), arrays_of(each)
        assert before.keys() == after.keys()
        assert all(np.array_equal(before[key], after[key]) for key in before)
    for wrong in ({"start": names[0]}, {"branches": names[:2]}, {"joint_steps": 2}):
        with pytest.raises(ValueRangeError, match="branches"):
            replace(plan, **wrong)
