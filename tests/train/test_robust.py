"""What happens to a run: signals, kills, full disks, odd photographs, several processes."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file as load_tensors

from camixersr.cli import main
from camixersr.data import read_rgb
from camixersr.errors import ImageError, InputError, OutputError
from camixersr.image.resize import resize
from camixersr.train.class_recipe import load_any
from camixersr.train.photos import PatchStream, load_photos
from camixersr.train.recipe import Recipe, load_recipe, with_folders
from tests.conftest import ROOT, shared
from tests.train.test_train import scene

pytest.importorskip("lightning", reason="needs the extra `train`: lightning is not installed")

RECIPE = """
photos = "{folder}/photos"
validation = "{folder}/set/x4"
output = "{output}"
model = "s-x4"
steps = {steps}
batch = 2
patch = 16
warmup = 2
validate_every = 2
holdout = 3
ema = 0.9
attention_first = 0.2
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for part in ("photos", "set/x4/high", "set/x4/low"):
        (root / part).mkdir(parents=True)
    for number in range(5):
        Image.fromarray(scene(96, number)).save(root / "photos" / f"{number}.png")
    high = scene(64, 50)
    Image.fromarray(high).save(root / "set/x4/high/a.png")
    Image.fromarray(resize(high, height=16, width=16)).save(root / "set/x4/low/a.png")
    return root


def write_recipe(folder: Path, output: Path, *, steps: int = 6, more: str = "") -> Path:
    path = output.with_suffix(".toml")
    path.write_text(RECIPE.format(folder=folder, output=output, steps=steps) + more)
    return path


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "camixersr", "train", *map(str, arguments)]


ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "TORCHINDUCTOR_COMPILE_THREADS": "1"}


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )


def finish(*arguments: object, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, check=False, env=ENVIRONMENT, **options
    )


def wait_for(file: Path, process: subprocess.Popen[str]) -> None:
    for _ in range(1200):
        if file.exists():
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    pytest.fail(f"no {file} after a minute")


@pytest.mark.slow
def test_stopped_and_killed_runs_resume_to_the_same_weights(folder: Path, tmp_path: Path) -> None:
    whole = finish(write_recipe(folder, tmp_path / "whole", steps=20))
    assert whole.returncode == 0, whole.stderr
    broken = write_recipe(folder, tmp_path / "broken", steps=20)
    last = tmp_path / "broken" / "checkpoints" / "last.ckpt"

    run = start(broken)  # Ctrl-C: ends after the step, leaves a checkpoint, says how
    wait_for(last, run)
    run.send_signal(signal.SIGINT)
    _, told = run.communicate(timeout=120)
    assert run.returncode == 130, told
    assert "Traceback" not in told
    after_interrupt = torch.load(last, weights_only=False)["global_step"]
    assert 2 <= after_interrupt < 20

    run = start(broken, "--resume")  # SIGKILL in the middle of it
    stamp = last.stat().st_mtime_ns
    for _ in range(1200):
        if last.stat().st_mtime_ns != stamp:
            break
        time.sleep(0.05)
    run.kill()
    run.communicate()
    after_kill = torch.load(last, weights_only=False)["global_step"]
    assert after_interrupt < after_kill < 20
    assert [file.name for file in last.parent.glob("last*")] == ["last.ckpt"]
    assert not (tmp_path / "broken" / "s-x4.safetensors").exists()

    end = finish(broken, "--resume")
    assert end.returncode == 0, end.stderr
    assert end.stdout.strip() == str(tmp_path / "broken" / "s-x4.safetensors")
    one, two = (load_tensors(tmp_path / name / "s-x4.safetensors") for name in ("whole", "broken"))
    assert one.keys() == two.keys()
    for name in one:
        assert torch.equal(one[name], two[name]), name


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX file size limits")
def test_a_full_disk_is_one_line_and_spares_the_last_checkpoint(folder: Path, tmp_path: Path) -> None:
    import resource

    def full() -> None:  # no file may grow beyond 3 MB: a checkpoint is 5
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000))

    recipe = write_recipe(folder, tmp_path / "run", steps=2)
    assert finish(recipe).returncode == 0
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    before = last.read_bytes()
    result = finish(write_recipe(folder, tmp_path / "run", steps=6), "--resume", preexec_fn=full)
    assert result.returncode == 3
    said = [line for line in result.stderr.splitlines() if line.startswith("camixersr:")]
    lines = [line for line in said if not line.startswith("camixersr: step ")]  # which tell how far it is
    assert len(lines) == 1, result.stderr
    assert "cannot write" in lines[0]
    assert "--resume" in lines[0]
    assert "Traceback" not in result.stderr
    assert last.read_bytes() == before
    leftovers = [file.name for file in last.parent.iterdir() if file.name.startswith(".")]
    assert not leftovers
    assert finish(write_recipe(folder, tmp_path / "run", steps=6), "--resume").returncode == 0


def test_an_unwritable_folder_is_one_line(folder: Path, tmp_path: Path) -> None:
    from camixersr.train.fit import fit

    (tmp_path / "file").write_text("in the way")
    plan = load_recipe(write_recipe(folder, tmp_path / "r"))
    with pytest.raises(OutputError, match="cannot be made"):
        fit(replace(plan, output=str(tmp_path / "file" / "run")))


@pytest.mark.slow
def test_two_processes_learn_as_one_does_with_the_whole_batch(folder: Path, tmp_path: Path) -> None:
    """By torchrun and gloo on the CPU; Explore ranks within a process, so compare routing by detail."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    more = 'routing = "detail"\n'
    one = write_recipe(folder, tmp_path / "one", steps=8, more=more)
    two = write_recipe(folder, tmp_path / "two", steps=8, more=more + "devices = 2\n")
    alone = finish(one)
    assert alone.returncode == 0, alone.stderr
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    many = subprocess.run(
        [*launcher, "-m", "camixersr", "train", str(two)],
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT | {"CUDA_VISIBLE_DEVICES": ""},
    )
    assert many.returncode == 0, many.stderr

    def curve(output: Path) -> list[float]:
        events = EventAccumulator(str(output / "log" / "version_0"))
        events.Reload()
        return [event.value for event in events.Scalars("train/pixels")]

    first, second = curve(tmp_path / "one"), curve(tmp_path / "two")
    assert len(first) == len(second) == 8
    assert np.allclose(first, second, rtol=1e-3)
    weights = [load_tensors(tmp_path / name / "s-x4.safetensors") for name in ("one", "two")]
    for name in weights[0]:
        assert torch.allclose(weights[0][name], weights[1][name], atol=2e-2), name


def test_odd_photographs_are_used_rightly_or_left_out_by_name(folder: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    good = scene(96, 3)
    deep = np.asarray(Image.fromarray(good).convert("L")).astype(np.uint16) * 257
    Image.fromarray(good).save(photos / "a-plain.png")
    Image.fromarray(good).convert("L").save(photos / "b-grey.png")
    Image.fromarray(deep).save(photos / "c-grey16.png")
    Image.fromarray(np.dstack([good, np.full((96, 96), 255, np.uint8)])).save(photos / "d-opaque.png")
    Image.fromarray(good).quantize(64).save(photos / "e-palette.png")
    Image.fromarray(good).convert("CMYK").save(photos / "u-cmyk.jpg")
    Image.fromarray(np.dstack([good, good[..., 0]])).save(photos / "v-alpha.png")
    Image.fromarray(good[:20, :20]).save(photos / "w-tiny.png")
    (photos / "x-corrupt.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing")
    whole = (photos / "a-plain.png").read_bytes()
    (photos / "y-truncated.png").write_bytes(whole[: len(whole) // 2])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        loaded = load_photos(sorted(photos.iterdir()), tmp_path / "cache", smallest=80)
    assert len(loaded) == 5
    assert np.array_equal(loaded.photo(0), good)
    assert np.array_equal(loaded.photo(1), loaded.photo(2)), "16 bits are scaled, not clipped"
    assert np.array_equal(loaded.photo(3), good)
    said = " ".join(str(each.message) for each in told)
    for name in ("u-cmyk", "v-alpha", "w-tiny", "x-corrupt", "y-truncated"):
        assert name in said
    with pytest.raises(ImageError, match="transparent"):
        read_rgb(photos / "v-alpha.png", faithful=True)


def test_a_dry_run_tells_the_plan_and_writes_nothing(folder: Path, tmp_path: Path) -> None:
    from camixersr.train.plan import describe_run

    text = describe_run(load_recipe(write_recipe(folder, tmp_path / "run", more="keep = 3\n")))
    for said in ("351,238 weights", "3 to train on", "2 held out", "6 of 2 patches", "64 x 64 high", "GB"):
        assert said in text, text
    assert not (tmp_path / "run").exists()


def test_photographs_missing_is_one_line(folder: Path, tmp_path: Path) -> None:
    from camixersr.train.start import find_photos

    with pytest.raises(InputError, match="expected a folder of photographs"):
        find_photos(Recipe(photos=str(tmp_path / "no"), validation="v", output="o"))


def test_shrinking_cuts_from_a_reduced_photograph(folder: Path, tmp_path: Path) -> None:
    photos = load_photos([folder / "photos" / "0.png"], tmp_path, smallest=80)
    plain = PatchStream(photos, scale=4, patch=16, seed=1)
    shrunk = PatchStream(photos, scale=4, patch=16, seed=1, shrink=2.0)
    patches = [shrunk.patch(number) for number in range(8)]
    assert all(patch.shape == plain.patch(0).shape for patch in patches)
    assert torch.equal(patches[3], shrunk.patch(3))
    assert not all(torch.equal(patches[n], plain.patch(n)) for n in range(8))


def test_weights_come_over_from_another_scale(folder: Path, tmp_path: Path) -> None:
    """All but the last layer are copied, and that one is solved: at once better than a linear start."""
    from camixersr.models import PRESETS, CAMixerSR
    from camixersr.train.initialise import transfer

    torch.manual_seed(0)
    source, target = CAMixerSR(PRESETS["s-x4"]), CAMixerSR(PRESETS["s-x2"])
    own = target.tail.weight.detach().clone()
    transfer(source, target)
    assert torch.equal(target.tail.weight, own)
    for name, value in source.state_dict().items():
        if not name.startswith("tail."):
            assert torch.equal(value, target.state_dict()[name]), name
    with pytest.raises(InputError, match="scale alone"):
        transfer(source, CAMixerSR(PRESETS["m-x4"]))


def test_saturated_routing_is_told(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from camixersr.train.fit import fit

    monkeypatch.setattr("camixersr.train.module.FLAT", 2.0)  # any spread is too little
    monkeypatch.setattr("camixersr.train.callbacks.SETTLED", 0)
    plan = load_recipe(write_recipe(folder, tmp_path / "run", steps=2))
    with pytest.warns(UserWarning, match="routing is saturated in block 0, 1"):
        fit(plan)


def test_the_smoke_recipe_needs_nothing_but_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from camixersr.train.fit import fit
    from camixersr.train.start import find_photos

    monkeypatch.chdir(ROOT)
    plan = load_recipe("recipes/smoke.toml")
    assert not plan.validation
    assert Path(plan.photos).resolve().is_relative_to(ROOT)
    kept, aside, smallest = find_photos(plan)
    assert (len(kept), len(aside)) == (20, 4)
    for file in (*kept, *aside):
        with Image.open(file) as picture:
            assert picture.mode == "RGB"
            assert min(picture.size) >= smallest
    plan = replace(plan, output=str(tmp_path / "run"), steps=2, validate_every=2, blocks=(1,), patch=16)
    assert fit(plan).is_file()


def test_its_pictures_are_made_by_the_script_in_tools() -> None:
    """One of each kind drawn again: the same, but for how a processor rounds."""
    path = ROOT / "tools" / "smoke_pictures.py"
    spec = importlib.util.spec_from_file_location("smoke_pictures", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    names = {f"{kind.__name__}-{n + 1}" for kind in module.KINDS for n in range(module.OF_EACH)}
    assert {file.stem for file in module.FOLDER.iterdir()} == names
    for kind in module.KINDS:
        with Image.open(module.FOLDER / f"{kind.__name__}-1.png") as stored:
            difference = np.asarray(stored).astype(int) - module.picture(kind, 0)
        assert (abs(difference) > 1).mean() < 1e-3


@pytest.mark.parametrize("name", ["smoke", "classsr-s-x4"])
def test_other_folders_than_the_recipes(name: str, tmp_path: Path) -> None:
    """What a recipe says of its photographs is not said of others."""
    plan = load_any(ROOT / "recipes" / f"{name}.toml")
    other = with_folders(plan, photos=tmp_path / "mine", validation=tmp_path / "set")
    assert (other.photos, other.validation) == (str(tmp_path / "mine"), str(tmp_path / "set"))
    assert plan.licences
    assert (other.data, other.licences) == ("mine", "")
    assert with_folders(plan) == plan
    scored = with_folders(plan, validation=tmp_path / "set")
    assert (scored.photos, scored.data, scored.licences) == (plan.photos, plan.data, plan.licences)


def test_the_command_takes_them(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A recipe whose own folders are not there."""
    plan = write_recipe(tmp_path / "nothing", tmp_path / "run")
    photos, pairs = ["--photos", str(folder / "photos")], ["--validation", str(folder / "set" / "x4")]
    for flags, code in (([], 3), (photos, 3), (pairs, 3), ([*photos, *pairs], 0)):
        with pytest.raises(SystemExit) as ended:
            main(["train", str(plan), "--dry-run", *flags])
        assert ended.value.code == code
    said = capsys.readouterr().out
    assert "3 to train on" in said
    assert "validation   set, 1 pictures" in said


@pytest.mark.slow
def test_the_smoke_recipe_trains_on_photographs(tmp_path: Path) -> None:
    """Two minutes on a CPU: the loss on held-out patches falls, and PSNR beats bicubic by far."""
    from camixersr.data import open_set
    from camixersr.models import CAMixerSR
    from camixersr.nn import TopShare
    from camixersr.train.fit import fit
    from camixersr.train.initialise import initialise_linear
    from camixersr.train.module import Training
    from camixersr.train.photos import reduce
    from camixersr.train.score import score
    from camixersr.train.start import find_photos, start_network
    from camixersr.weights import load_file

    plan = replace(
        load_recipe(ROOT / "recipes" / "smoke.toml"),
        photos=str(shared("data/train")),
        validation=str(shared("data/bench/Set5/x4")),
        output=str(tmp_path),
        limit=25,
        holdout=25,
        validate_every=60,
    )
    model = load_file(fit(plan))
    _, aside, smallest = find_photos(plan)
    held_out = load_photos(aside, tmp_path / "cache", smallest=smallest)
    stream = PatchStream(held_out, scale=4, patch=32, seed=99)
    low, high = reduce(torch.stack([stream.patch(number) for number in range(16)]), 4)
    before, _ = start_network(plan)
    photos = load_photos(find_photos(plan)[0], tmp_path / "cache", smallest=smallest)
    training = Training(before, plan, photos, [])
    initialise_linear(before, *reduce(training.patches(64, seed=plan.seed + 2), 4))

    @torch.no_grad()
    def loss(network: CAMixerSR) -> float:
        return float(torch.nn.functional.l1_loss(network(low, TopShare(0.5)), high))

    assert loss(model.network) < 0.99 * loss(before.eval())
    images = [pair.read(4) for pair in open_set(plan.validation).pairs]
    psnr = score(model.network, images, model.policy(0.5))
    assert psnr > 28.43 + 0.5  # bicubic, as published and as measured here
