"""Training at scale 1: pairs of patches, recipes, and a run from start to a file that restores."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file as load_tensors

from camixersr.errors import InputError, UsageError, ValueRangeError
from camixersr.image.degradation import Degradation, compress
from camixersr.models import PRESETS, RESTORATION_PRESETS, CAMixerSRConfig
from camixersr.train.calibrate import RATIOS
from camixersr.train.photos import DegradedStream, Photos, load_photos
from camixersr.train.recipe import Recipe, load_recipe
from camixersr.weights import load_file
from tests.conftest import ROOT
from tests.train.test_train import run, scene

JPEG, NOISE = Degradation("jpeg", 10, 60), Degradation("noise", 15, 50)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    for number in range(5):
        Image.fromarray(scene(96, number)).save(root / f"{number}.png")
    return root


@pytest.fixture
def photos(folder: Path, tmp_path: Path) -> Photos:
    return load_photos(sorted(folder.glob("*.png")), tmp_path, smallest=64)


def recipe(folder: Path, output: Path, **changes) -> Recipe:
    base = Recipe(
        photos=str(folder),
        output=str(output),
        model="tiny-x1",
        task="jpeg",
        quality=(10, 60),
        steps=4,
        batch=2,
        patch=16,
        warmup=2,
        validate_every=2,
        attention_first=0.25,
        holdout=3,
        ema=0.5,
    )
    return replace(base, **changes)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        RESTORATION_PRESETS, "tiny-x1", CAMixerSRConfig(channels=12, scale=1, blocks=(1, 1))
    )


@pytest.mark.parametrize("degradation", [JPEG, NOISE])
def test_a_pair_is_a_function_of_seed_and_number(photos: Photos, degradation: Degradation) -> None:
    one, two = (DegradedStream(photos, patch=32, seed=5, degradation=degradation) for _ in range(2))
    other = DegradedStream(photos, patch=32, seed=6, degradation=degradation)
    for number in (0, 7, 3):
        assert one.patch(number).shape == (6, 32, 32)
        assert torch.equal(one.patch(number), two.patch(number))
        assert not torch.equal(one.patch(number), other.patch(number))
    low, high = one.pairs(torch.stack([one.patch(number) for number in range(4)]))
    assert low.shape == high.shape == (4, 3, 32, 32)
    assert 0.0 <= float(low.min()) <= float(low.max()) <= 1.0
    assert 0.01 < float((low - high).abs().mean()) < 0.3


def test_blocks_begin_where_windows_do(photos: Photos, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the grid, a patch is what a file that begins a window earlier shows there."""
    monkeypatch.setattr(DegradedStream, "SELDOM", 0.0)
    stream = DegradedStream(photos, patch=32, seed=5, degradation=JPEG.only(20))
    for number in range(5):
        low, high = stream.patch(number).permute(1, 2, 0).numpy()[..., :3], stream.patch(number)[3:]
        # each 8 x 8 block of luma keeps its mean, up to one step of the table, only on the file's own grid
        again = compress(np.ascontiguousarray(low), 20)
        shifted = compress(np.ascontiguousarray(np.roll(low, 4, axis=(0, 1))), 20)
        here = np.abs(again.astype(int) - low).mean()
        there = np.abs(shifted.astype(int) - np.roll(low, 4, axis=(0, 1))).mean()
        assert here < 0.6 * there, "a JPEG compressed once more on its own grid hardly changes"
        assert high.shape == (3, 32, 32)


def test_some_patches_lie_off_the_grid(photos: Photos) -> None:
    stream = DegradedStream(photos, patch=32, seed=5, degradation=JPEG.only(10))
    changes = []
    for number in range(60):
        low = np.ascontiguousarray(stream.patch(number)[:3].permute(1, 2, 0).numpy())
        changes.append(float(np.abs(compress(low, 10).astype(int) - low).mean()))
    off = np.mean(np.array(changes) > 2.0 * np.median(changes))
    assert 0.0 < off < 0.4


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    ("task", "how"), [("jpeg", {"quality": (10, 60)}), ("noise", {"quality": (), "sigma": (15.0, 50.0)})]
)
def test_a_run_leaves_a_model_that_says_what_it_restores(folder: Path, tmp_path: Path, task, how) -> None:
    file = run(recipe(folder, tmp_path, task=task, **how))
    model = load_file(file)
    assert file.name == f"tiny-{task}.safetensors"
    assert model.config.scale == 1
    assert model.restores == (JPEG if task == "jpeg" else NOISE)
    assert set(model.scores) == {f"held out/{ratio:g}" for ratio in (0, *RATIOS, 1)}
    assert model.scores["held out/0.5"] > 15.0
    assert model.calibration is not None


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("how", [{}, {"task": "noise", "quality": (), "sigma": (5.0, 50.0)}])
def test_a_resumed_run_ends_with_the_same_weights(folder: Path, tmp_path: Path, how) -> None:
    torch.set_num_threads(1)
    import lightning
    from lightning import Trainer

    class Cut(lightning.Callback):
        def on_train_batch_start(self, trainer, *_: object) -> None:
            if trainer.global_step == 3:
                raise RuntimeError("the power went")

    whole = run(recipe(folder, tmp_path / "whole", **how))
    before = Trainer.__init__

    def with_cut(self, *arguments, callbacks, **options) -> None:
        before(self, *arguments, callbacks=[*callbacks, Cut()], **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "__init__", with_cut)
        with pytest.raises(RuntimeError, match="power"):
            run(recipe(folder, tmp_path / "parts", **how))
    parts = run(recipe(folder, tmp_path / "parts", **how), resume=True)
    one, two = load_tensors(whole), load_tensors(parts)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_body_goes_over_to_scale_1(photos: Photos) -> None:
    """Least squares put the last layer where the untrained network already restores a little."""
    from camixersr.metrics import psnr
    from camixersr.models import CAMixerSR
    from camixersr.train.initialise import initialise_linear

    torch.manual_seed(0)
    network = CAMixerSR(CAMixerSRConfig(channels=32, scale=1, blocks=(1,)))
    stream = DegradedStream(photos, patch=48, seed=1, degradation=NOISE.only(25))
    low, high = stream.pairs(torch.stack([stream.patch(number) for number in range(32)]))
    initialise_linear(network, low[:24], high[:24])
    result = network(low[24:])
    given, made = (psnr((255 * each[24:]).numpy(), (255 * high[24:]).numpy()) for each in (low, high))
    made = psnr((255 * result.detach()).numpy(), (255 * high[24:]).numpy())
    assert made > given + 3.0


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"quality": ()}, "quality is a range of two numbers"),
        ({"quality": (10, 20, 30)}, "quality is a range"),
        ({"quality": (60, 10)}, "range of quality within 1 to 95"),
        ({"task": "noise", "quality": (), "sigma": (5.0, 500.0)}, "range of sigma within 0 to 100"),
        ({"task": "noise"}, "quality is a range"),
        ({"task": "sr"}, "quality is a range"),
        ({"projection": "erp"}, "panoramas are enlarged"),
    ],
)
def test_recipes_that_make_no_sense_are_refused(changes, complaint: str) -> None:
    with pytest.raises(ValueRangeError, match=complaint):
        recipe(Path("photos"), Path("runs"), **changes)


@pytest.mark.usefixtures("tiny")
def test_task_and_scale_must_agree(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "tiny", CAMixerSRConfig(channels=12, scale=4, blocks=(1,)))
    with pytest.raises(UsageError, match=r"tiny works at scale 4 and the recipe's task is 'jpeg'"):
        run(recipe(folder, tmp_path, model="tiny"))
    with pytest.raises(UsageError, match="scale 1"):
        run(recipe(folder, tmp_path, task="sr", quality=()))


def test_the_recipes_of_the_tree_load() -> None:
    assert load_recipe(ROOT / "recipes" / "s-jpeg.toml").degradation == JPEG
    assert load_recipe(ROOT / "recipes" / "s-noise.toml").degradation == Degradation("noise", 5, 55)


def test_a_range_in_a_recipe_is_a_list_of_numbers(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text('photos = "p"\noutput = "o"\nmodel = "s-x1"\ntask = "jpeg"\nquality = "20"\n')
    with pytest.raises(InputError, match="quality should be"):
        load_recipe(path)


def test_a_body_that_pools_over_other_cells_gives_no_name() -> None:
    """The restorer of noise was called s-x4, after the body that it began with."""
    from dataclasses import replace

    from camixersr.models import PRESETS
    from camixersr.train.fit import is_narrower

    preset = PRESETS["s-x4"]
    assert not is_narrower(replace(preset, pool=64), preset)
    assert is_narrower(replace(preset, pool=64, hidden=30), preset)
