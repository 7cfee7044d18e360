"""The trainer, on photographs made on the spot: small, but every part of it runs."""

import warnings
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file as load_tensors

from camixersr.catalogue import names
from camixersr.errors import CheckpointError, DeviceError, InputError, UnknownModelError, ValueRangeError
from camixersr.image.resize import resize
from camixersr.models import PRESETS, CAMixerSR, CAMixerSRConfig, presets
from camixersr.models.calibration import Threshold
from camixersr.models.detail import window_detail
from camixersr.nn import BlockRouting, Routing, TopShare
from camixersr.train.calibrate import RATIOS, calibrate
from camixersr.train.class_recipe import load_any
from camixersr.train.fused import FusedStep
from camixersr.train.initialise import initialise_linear, load_checkpoint
from camixersr.train.objective import detail_loss, paper_loss, percentile
from camixersr.train.photos import MARGIN, Batches, PatchStream, load_photos, reduce
from camixersr.train.policies import Stochastic
from camixersr.train.recipe import TABLES, Recipe, load_recipe
from camixersr.weights import load_file
from tests.conftest import ROOT, random_network


def scene(size: int, seed: int) -> np.ndarray:
    """Something like a photograph: soft shapes with sharp edges, sky above, texture below."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:size, 0:size] / size
    picture = np.stack([0.5 + 0.4 * np.sin(3 * rows + phase) for phase in rng.uniform(0, 6, 3)], -1)
    for _ in range(12):
        y, x, r = rng.uniform(0, 1, 3)
        picture[(rows - y) ** 2 + (columns - x) ** 2 < 0.03 * r] = rng.uniform(0, 1, 3)
    picture[size // 2 :] += rng.normal(0, 0.08, (size - size // 2, size, 1))
    return (255 * picture.clip(0, 1)).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs, a validation set, and files that cannot be used."""
    root = tmp_path_factory.mktemp("data")
    for part in ("photos", "set/x4/high", "set/x4/low"):
        (root / part).mkdir(parents=True)
    for number in range(6):
        Image.fromarray(scene(224, number)).save(root / "photos" / f"{number}.png")
    Image.fromarray(scene(224, 7)).convert("L").save(root / "photos" / "grey.jpg")
    high = scene(128, 50)
    Image.fromarray(high).save(root / "set/x4/high/a.png")
    Image.fromarray(resize(high, height=32, width=32)).save(root / "set/x4/low/a.png")
    return root


def recipe(folder: Path, output: Path, **changes) -> Recipe:
    base = Recipe(
        photos=str(folder / "photos"),
        validation=str(folder / "set/x4"),
        output=str(output),
        steps=4,
        batch=2,
        patch=16,
        warmup=2,
        validate_every=2,
        attention_first=0.25,
        holdout=3,
    )
    return replace(base, **changes)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "tiny", CAMixerSRConfig(channels=12, scale=4, blocks=(1, 1)))


def needs_fused(folder: Path) -> None:
    """Skip, aloud, where no fused step can be compiled."""
    try:
        FusedStep(random_network(12, 2, (1, 1)), 16, folder)
    except DeviceError as error:
        pytest.skip(f"needs AVX2 or AVX-512, and a C++ compiler: {error}")


def run(plan: Recipe, **options) -> Path:
    pytest.importorskip("lightning", reason="needs the extra `train`: lightning is not installed")
    from camixersr.train.fit import fit

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lightning's own, about its future
        return fit(plan, **options)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("routing", ["gain", "detail", "paper"])
def test_a_run_leaves_weights_checkpoints_and_a_log(folder: Path, tmp_path: Path, routing) -> None:
    from camixersr.weights import load_file

    file = run(recipe(folder, tmp_path, model="tiny", routing=routing), name="tiny-x4")
    model = load_file(file)
    assert model.name == "tiny-x4"
    assert set(model.scores) == {f"set/{ratio:g}" for ratio in (0, *RATIOS, 1)}
    assert model.scores["set/0.5"] > 15.0
    assert model.calibration is not None
    assert model.calibration.ratios == RATIOS
    assert model.provenance["steps"] == "4"
    assert (tmp_path / "checkpoints" / "last.ckpt").is_file()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "log" / "version_0"))
    events.Reload()
    assert set(events.Tags()["images"]) == {"picture", "attention"}
    assert {"train/pixels", "train/score_spread", "train/attention_share", "psnr"} <= set(
        events.Tags()["scalars"]
    )
    assert ("train/gain" in events.Tags()["scalars"]) == (routing == "gain")


@pytest.mark.usefixtures("tiny")
def test_the_best_checkpoints_stay(folder: Path, tmp_path: Path) -> None:
    run(recipe(folder, tmp_path, model="tiny", steps=8, keep=2))
    best = sorted((tmp_path / "checkpoints").glob("step=*.ckpt"))
    assert len(best) == 2, "of four validations"
    last = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=False)
    assert last["global_step"] == 8


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("kernels", ["torch", "fused"])
def test_a_resumed_run_ends_with_the_same_weights(folder: Path, tmp_path: Path, kernels) -> None:
    if kernels == "fused":
        needs_fused(tmp_path)
    torch.set_num_threads(1)
    plan = recipe(folder, tmp_path / "whole", model="tiny", kernels=kernels, allot=1.0, attention_first=0.0)
    whole = run(plan)
    last = torch.load(tmp_path / "whole" / "checkpoints" / "last.ckpt", weights_only=False)
    assert [len(each) for each in last["allotment"]] == [2, 2]
    # the same run, cut off after the checkpoint at step 2: all of it is in the checkpoint
    import lightning

    class Cut(lightning.Callback):
        def on_train_batch_start(self, trainer, *_: object) -> None:
            if trainer.global_step == 3:
                raise RuntimeError("the power went")

    from lightning import Trainer

    init = Trainer.__init__

    def with_cut(self, *arguments, **options):
        options["callbacks"] = [*options["callbacks"], Cut()]
        init(self, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "__init__", with_cut)
        with pytest.raises(RuntimeError, match="power"):
            run(replace(plan, output=str(tmp_path / "cut")))
    assert not (tmp_path / "cut" / "tiny.safetensors").exists()
    resumed = run(replace(plan, output=str(tmp_path / "cut")), resume=True)
    one, two = load_tensors(whole), load_tensors(resumed)
    assert one.keys() == two.keys()
    for name in one:
        assert torch.equal(one[name], two[name]), name


@pytest.mark.usefixtures("tiny")
def test_a_run_can_start_from_weights(folder: Path, tmp_path: Path) -> None:
    first = run(recipe(folder, tmp_path / "one", model="tiny"))
    plan = recipe(
        folder,
        tmp_path / "two",
        model="tiny",
        start=str(first),
        steps=1,
        learning_rate=1e-9,
        matrix_rate=1e-9,
    )
    second = run(plan)
    one, two = load_tensors(first), load_tensors(second)
    assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)


@pytest.mark.usefixtures("tiny")
def test_a_run_can_start_from_anothers_checkpoint(folder: Path, tmp_path: Path) -> None:
    """From its averaged weights, which are also what that run wrote."""
    first = run(recipe(folder, tmp_path / "one", model="tiny"))
    checkpoint = tmp_path / "one" / "checkpoints" / "last.ckpt"
    plan = recipe(
        folder, tmp_path / "two", model="tiny", start=str(checkpoint), steps=2, learning_rate=1e-9,
        matrix_rate=1e-9,
    )  # fmt: skip
    second = run(plan)
    one, two = load_tensors(first), load_tensors(second)
    assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)
    known, before = load_file(second).provenance, load_file(first).provenance
    assert int(known["steps"]) == int(before["steps"]) + 2
    assert known["legs"] == "2"
    checkpoint = tmp_path / "two" / "checkpoints" / "last.ckpt"  # which tells of the leg before it, too
    third = load_file(run(replace(plan, start=str(checkpoint), output=str(tmp_path / "three")))).provenance
    assert int(third["steps"]) == int(before["steps"]) + 4
    assert float(third["hours"]) >= float(known["hours"])
    assert third["legs"] == "3"
    wrong = tmp_path / "wrong.ckpt"
    for broken in (b"", b"nonsense", first.read_bytes(), checkpoint.read_bytes()[:2000]):
        wrong.write_bytes(broken)
        with pytest.raises(CheckpointError, match="expected a checkpoint of the trainer"):
            load_checkpoint(wrong)
    with pytest.raises(CheckpointError, match="No such file"):
        load_checkpoint(tmp_path / "nothing.ckpt")


def test_an_unknown_preset_lists_the_known(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match="s-x4"):
        run(recipe(folder, tmp_path, model="xl-x9"))


def test_patches_are_a_function_of_seed_and_number(folder: Path, tmp_path: Path) -> None:
    files = sorted((folder / "photos").glob("*.png"))
    photos = load_photos(files, tmp_path, smallest=80)
    stream = PatchStream(photos, scale=4, patch=16, seed=5)
    first = [stream.patch(number) for number in range(6)]
    assert all(patch.shape == (3, 80, 80) and patch.dtype == torch.uint8 for patch in first)
    whole = next(iter(Batches(stream, size=2, start=1)))
    assert torch.equal(whole, torch.stack(first[2:4]))
    for process in range(2):  # of two processes, each has its half of every batch
        part = iter(Batches(stream, size=2, start=1, process=process, processes=2))
        assert torch.equal(next(part), first[2 + process][None])
        assert torch.equal(next(part), first[4 + process][None])
    other = PatchStream(photos, scale=4, patch=16, seed=6)
    assert not torch.equal(other.patch(0), first[0])
    assert not torch.equal(first[0], first[1])


def test_photos_are_decoded_once_and_come_back_exactly(folder: Path, tmp_path: Path) -> None:
    files = sorted((folder / "photos").iterdir())
    photos = load_photos(files, tmp_path, smallest=80)
    assert len(photos) == 7
    for number, file in enumerate(files):
        with Image.open(file) as image:
            assert np.array_equal(photos.photo(number), np.asarray(image.convert("RGB")))
    stamp = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    load_photos(files, tmp_path, smallest=80)
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == stamp


def test_unusable_photographs_are_left_out_and_named(folder: Path, tmp_path: Path) -> None:
    Image.fromarray(scene(40, 0)).save(tmp_path / "small.png")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    good = folder / "photos" / "0.png"
    with pytest.warns(UserWarning, match="left out") as told:
        photos = load_photos(
            [good, tmp_path / "small.png", tmp_path / "broken.jpg"], tmp_path / "c", smallest=80
        )
    assert len(photos) == 1
    assert len(told) == 2
    assert "40 x 40 is too small" in photos.skipped[0]
    assert "broken.jpg" in photos.skipped[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(InputError, match="no usable photograph"):
            load_photos([tmp_path / "small.png"], tmp_path / "c", smallest=80)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_patch_is_reduced_as_its_whole_photograph_would_be(scale: int) -> None:
    photo = scene(180, 3)
    low = resize(photo, height=180 // scale, width=180 // scale)
    side, row, column = (16 + 2 * MARGIN) * scale, 3 * scale, 5 * scale
    crop = photo[row : row + side, column : column + side].transpose(2, 0, 1)
    small, high = reduce(torch.from_numpy(crop.copy())[None], scale)
    expected = low[3 + MARGIN : 3 + MARGIN + 16, 5 + MARGIN : 5 + MARGIN + 16].transpose(2, 0, 1)
    difference = (small[0] * 255).round().numpy() - expected
    assert np.abs(difference).max() <= 1  # a tie may round either way
    assert (difference == 0).mean() > 0.999
    inner = crop[:, MARGIN * scale : -MARGIN * scale, MARGIN * scale : -MARGIN * scale]
    assert np.array_equal((high[0] * 255).round().numpy(), inner)


@pytest.mark.parametrize("channels", [36, 60])
def test_an_initialised_network_is_a_good_linear_upsampler(channels: int) -> None:
    photos = [torch.from_numpy(scene(224, seed).transpose(2, 0, 1).copy()) for seed in range(4)]
    low, high = reduce(torch.stack(photos), 4)
    network = CAMixerSR(CAMixerSRConfig(channels=channels, scale=4, blocks=(1,))).eval()
    initialise_linear(network, low[:3], high[:3])
    with torch.no_grad():
        result = network(low[3:], TopShare(0.5))
        assert torch.equal(result, network(low[3:], TopShare(0.0))), "the body is switched off"
    bicubic = resize(
        low[3].permute(1, 2, 0).contiguous().numpy(), height=high.shape[2], width=high.shape[3]
    )
    ours = (result[0] - high[3]).square().mean()
    theirs = (torch.from_numpy(bicubic).permute(2, 0, 1) - high[3]).square().mean()
    assert ours < theirs


def test_detail_is_higher_where_there_is_more() -> None:
    low = torch.full((1, 3, 32, 32), 0.5)
    low[..., 16:] += 0.2 * torch.rand(32, 16)
    detail = window_detail(low, 16)
    assert detail.shape == (1, 4)
    assert detail[0, 1] > detail[0, 0] + 1
    assert detail[0, 3] > detail[0, 2] + 1


def test_percentiles_are_uniform_over_their_own_population() -> None:
    values = torch.randn(10_000)
    quantiles = values.quantile(torch.linspace(0, 1, 256))
    place = percentile(values, quantiles)
    assert torch.allclose(place.sort().values, torch.linspace(0, 1, 10_000), atol=0.01)
    assert percentile(torch.tensor([-99.0, 99.0]), quantiles).tolist() == [0.0, 1.0]


def _routing(logits: torch.Tensor, mask: torch.Tensor | None = None) -> Routing:
    blocks = (BlockRouting(logits, logits > 0 if mask is None else mask),)
    return Routing(1, logits.shape[1], blocks)


def test_the_detail_loss_is_least_where_scores_are_percentiles() -> None:
    target = torch.tensor([[0.1, 0.5, 0.9]])
    right = detail_loss(_routing(target.logit()), target)
    for wrong in (target.flip(1).logit(), torch.zeros(1, 3), 2 * target.logit()):
        assert detail_loss(_routing(wrong), target) > right


def test_the_papers_loss_is_its_formula_and_blind_to_content() -> None:
    half = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    assert paper_loss(_routing(half, half), 0.5) == 0.0
    assert paper_loss(_routing(half, half.flip(1)), 0.5) == 0.0
    full = torch.ones(1, 4, requires_grad=True)
    loss = paper_loss(_routing(half, full), 0.25)
    assert float(loss.detach()) == pytest.approx(2 * 0.25 * 0.25)
    mask = Stochastic(torch.Generator().manual_seed(0)).choose(half.requires_grad_(), 0)
    paper_loss(_routing(half, mask), 0.5).backward()


def test_calibrated_thresholds_attend_the_ratio_on_average() -> None:
    network = random_network(channels=16, scale=2, blocks=(1, 1))
    photos = [scene(160, seed) for seed in range(12)]
    calibration = calibrate(network, photos, side=80)
    shares: dict[float, float] = {}
    for ratio in (0.25, 0.5, 0.75):
        policy = calibration.at(ratio)
        assert isinstance(policy, Threshold)
        seen = [float(network.route(low_of(photo), policy)[1].attention_share.mean()) for photo in photos]
        shares[ratio] = float(np.mean(seen))
        assert max(seen) > min(seen), "photographs differ"
    for ratio, share in shares.items():
        assert share == pytest.approx(ratio, abs=0.08)


def low_of(photo: np.ndarray) -> torch.Tensor:
    low = resize(photo, height=80, width=80)
    return torch.from_numpy(low).permute(2, 0, 1)[None].float() / 255.0


def test_recipes_say_what_is_wrong(tmp_path: Path) -> None:
    good = 'photos = "a"\nvalidation = "b"\noutput = "c"\n'
    path = tmp_path / "r.toml"
    path.write_text(good + "steps = 7\nlearning_rate = 1\n")
    assert load_recipe(path) == Recipe(photos="a", validation="b", output="c", steps=7, learning_rate=1)
    for text, error, said in [
        (good + "step = 7\n", InputError, "unknown key step; known are"),
        ('photos = "a"\n', InputError, "missing output"),
        (good + 'steps = "many"\n', InputError, "steps should be"),
        (good + "steps = true\n", InputError, "steps should be"),
        (good + 'routing = "magic"\n', InputError, "routing should be"),
        (good + "steps = 0\n", ValueRangeError, "steps must be at least 1"),
        (good + "patch = 50\n", ValueRangeError, "multiple of 16"),
        (good + "ratio = 2.0\n", ValueRangeError, r"ratio must lie in \[0, 1\]"),
        (good + "holdout = 1\n", ValueRangeError, "holdout"),
        (good + "devices = 3\n", ValueRangeError, "multiple of devices"),
        (good + "halve_at = [1.5]\n", InputError, "halve_at should be"),
        (good + "matrix_rate = 0\n", ValueRangeError, "matrix_rate must be positive"),
        (good + "warmup = -1\n", ValueRangeError, "warmup must not be negative"),
        ("photos = ", InputError, "TOML"),
    ]:
        path.write_text(text)
        with pytest.raises(error, match=said):
            load_recipe(path)
    with pytest.raises(InputError, match="No such file"):
        load_recipe(tmp_path / "nothing.toml")


@pytest.mark.parametrize("file", sorted((ROOT / "recipes").glob("*.toml")), ids=lambda file: file.name)
def test_the_recipes_we_ship_are_recipes(file: Path) -> None:
    recipe = load_any(file)
    if isinstance(recipe, Recipe):
        assert recipe.model in presets()
    else:
        assert set(recipe.branches or (recipe.start,)) <= set(names())


@pytest.mark.usefixtures("tiny")
def test_bfloat16_trains_to_much_the_same(folder: Path, tmp_path: Path) -> None:
    full, half = (
        load_tensors(run(recipe(folder, tmp_path / name, model="tiny", precision=name)))
        for name in ("fp32", "bf16")
    )
    assert all(torch.isfinite(half[name]).all() for name in half)
    assert all(torch.allclose(full[name], half[name], atol=0.1) for name in full)
    assert not all(torch.equal(full[name], half[name]) for name in full)


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
def test_compiled_parts_train_as_eager_ones_do(folder: Path, tmp_path: Path) -> None:
    eager, compiled = (
        load_tensors(run(recipe(folder, tmp_path / str(way), model="tiny", compile=way)))
        for way in (False, True)
    )
    assert all(torch.allclose(eager[name], compiled[name], atol=1e-3) for name in eager)


@pytest.mark.usefixtures("tiny")
def test_rates_are_halved_where_the_recipe_says(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("lightning", reason="needs the extra `train`: lightning is not installed")
    from camixersr.train.module import Training

    files = sorted((folder / "photos").glob("*.png"))
    photos = load_photos(files, tmp_path, smallest=80)
    plan = recipe(folder, tmp_path, model="tiny", warmup=2, steps=100, halve_at=(10, 20))
    training = Training(CAMixerSR(PRESETS["tiny"]), plan, photos, [])
    schedule = training.configure_optimizers()["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(30):
        rates.append(schedule.get_last_lr()[0] / plan.learning_rate)
        schedule.optimizer.step()
        schedule.step()
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert [rates[n] for n in (9, 10, 19, 20, 29)] == [1.0, 0.5, 0.5, 0.25, 0.25]


def test_every_key_of_a_recipe_has_one_table(tmp_path: Path) -> None:
    homes = [key for keys in TABLES.values() for key in keys.split()]
    assert sorted(homes) == sorted(field.name for field in fields(Recipe))
    flat, grouped, wrong = (tmp_path / f"{name}.toml" for name in ("flat", "grouped", "wrong"))
    flat.write_text('photos = "a"\noutput = "c"\nsteps = 7\n')
    grouped.write_text('[data]\nphotos = "a"\n[steps]\nsteps = 7\n[run]\noutput = "c"\n')
    assert load_recipe(grouped) == load_recipe(flat)
    for text, complaint in (
        ('[run]\nphotos = "a"\noutput = "c"\n', r"photos stands in \[run\] and belongs into \[data\]"),
        ('[runs]\noutput = "c"\n', r"unknown table \[runs\]"),
        ('output = "c"\n[run]\noutput = "d"\n', "output is there twice"),
    ):
        wrong.write_text(text)
        with pytest.raises(InputError, match=complaint):
            load_recipe(wrong)
