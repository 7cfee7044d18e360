"""Trainings compared: what is told of them, what is kept, and what is noise."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from camixersr.cli import main as command_line
from camixersr.errors import InputError, UsageError, ValueRangeError
from camixersr.models import PRESETS
from camixersr.nn import TopShare
from camixersr.operations import count
from camixersr.train.findings import RATIOS, Finding, differences, markdown, noise, write_findings
from camixersr.train.recipe import Recipe
from tests.conftest import random_network
from tests.train.test_backbone import Own, OwnConfig
from tests.train.test_train import folder, recipe, tiny  # noqa: F401

pytest.importorskip("lightning", reason="needs the extra `train`: lightning is not installed")
pytest.importorskip("matplotlib", reason="needs the extra `report`: matplotlib is not installed")

from camixersr.train import compare as compared
from camixersr.train.ablate import VARIANTS, ablate
from camixersr.train.compare import Variant, compare, count_macs

pytestmark = pytest.mark.filterwarnings("ignore")  # lightning's own, about its future


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time a small picture, and once."""
    monkeypatch.setattr(compared, "SIDE", 32)
    monkeypatch.setattr(compared, "ROUNDS", 1)


@pytest.mark.parametrize("ratio", RATIOS)
def test_macs_are_those_of_the_formula(ratio: float) -> None:
    network = random_network(channels=20, scale=2, blocks=(2, 1))
    _, routing = network.route(torch.rand(1, 3, 64, 64), TopShare(ratio))
    formula = count(network.config, windows=16, attended=int(routing.attended.sum()))
    assert count_macs(network, ratio, side=64) == formula.total


def row(name: str, *values: float, seeds: tuple[int, ...] = (0, 1), mixers: int = 4) -> Finding:
    """Of that PSNR with each seed, whatever the ratio."""
    return Finding(
        name=name,
        seeds=seeds,
        weights=1000,
        mixers=mixers,
        macs=(1, 2, 3, 4, 5),
        seconds=(0.1, 0.2, 0.3, 0.4, 0.5),
        psnr={"set": (values,) * len(RATIOS)},
        spread=(0.1,) * len(seeds),
        minutes=(1.0,) * len(seeds),
    )


def test_differences_are_taken_seed_by_seed() -> None:
    first = row("full", 30.0, 31.0)
    assert differences(row("a", 30.5, 31.5), first, "set") == [0.5, 0.5]
    assert differences(row("b", 29.0, seeds=(1,)), first, "set") == [-2.0]
    assert differences(row("c", 29.0, seeds=(7,)), first, "set") == []


def test_noise_is_the_deviation_of_differences() -> None:
    first = row("full", 30.0, 31.0)
    same, off = row("a", 30.5, 31.5), row("b", 30.1, 31.3)
    assert noise([first, same], "set") == 0.0
    # differences 0.1 and 0.3: variance 0.02 with one degree of freedom; "a" adds a degree and nothing else
    assert noise([first, off], "set") == pytest.approx(0.02**0.5)
    assert noise([first, same, off], "set") == pytest.approx(0.01**0.5)
    assert noise([row("full", 30.0, seeds=(0,)), row("a", 31.0, seeds=(0,))], "set") is None


def test_the_table_says_what_noise_explains() -> None:
    rows = [row("full", 30.0, 31.0), row("much", 32.0, 33.1), row("little", 30.1, 31.0)]
    text = markdown(rows, {"training": "4 steps"})
    line = {name: next(each for each in text.splitlines() if each.startswith(f"| {name}")) for name in "ml"}
    assert "+2.050 | beyond noise" in line["m"]
    assert "+0.050 | within noise" in line["l"]
    assert "- training: 4 steps" in text
    alone = markdown([row("full", 30.0, seeds=(0,)), row("a", 31.0, seeds=(0,))], {})
    assert "+1.000" in alone
    assert "noise" not in alone.lower(), "one seed says nothing about it"


def test_a_network_without_mixers_has_one_score(tmp_path: Path) -> None:
    rows = [row("plain", 30.0, 31.0, mixers=0), row("mixed", 32.0, 33.0)]
    lines = markdown(rows, {}).splitlines()
    plain, mixed = (
        next(line for line in lines if line.startswith(f"| {name}")) for name in ("plain", "mixed")
    )
    assert plain.count("30.500") == 1
    assert mixed.count("32.500") == len(RATIOS)
    files = write_findings(tmp_path, rows, {"a": 1})
    assert [file.name for file in files] == [f"findings.{kind}" for kind in ("md", "json", "csv", "png")]
    table = list(csv.DictReader(files[2].open()))
    assert len(table) == 2 * len(RATIOS) * 2
    assert {each["psnr"] for each in table if each["name"] == "plain"} == {"30.00000", "31.00000"}
    assert json.loads(files[1].read_text())["rows"][1]["name"] == "mixed"
    assert files[3].read_bytes().startswith(b"\x89PNG")


def test_what_is_finished_is_not_done_again(
    folder: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = recipe(folder, tmp_path, validate_every=4)
    plain, mixed = (Variant(f"own-{n}", plan, lambda n=n: Own(OwnConfig(mixers=n))) for n in (0, 2))
    compare([plain], tmp_path / "out")
    trained: list[str] = []
    fit = compared.fit

    def watched(recipe: Recipe, **options: object) -> Path:
        trained.append(Path(recipe.output).name)
        return fit(recipe, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(compared, "fit", watched)
    files = compare([plain, mixed], tmp_path / "out", seeds=(0, 1))
    assert trained == ["own-2-0", "own-0-1", "own-2-1"], "all with the first seed first"
    rows = json.loads(files[1].read_text())["rows"]
    assert [(each["name"], each["seeds"], each["mixers"]) for each in rows] == [
        ("own-0", [0, 1], 0),
        ("own-2", [0, 1], 2),
    ]
    assert all(30 > value > 10 for each in rows for at in each["psnr"]["set"] for value in at)
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "out/runs").rglob("*.safetensors")}
    assert len(before) == 4
    extra = tmp_path / "extra"
    extra.mkdir()
    (extra / "a.png").write_bytes((folder / "set/x4/high/a.png").read_bytes())
    again = compare([plain, mixed], tmp_path / "out", data=[extra], seeds=(0, 1))
    assert len(trained) == 3
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert list(json.loads(again[1].read_text())["rows"][0]["psnr"]) == ["set", "extra"], "scored anew"
    begun = tmp_path / "out/runs/own-0-0/begun.json"
    older = json.loads(begun.read_text())
    del older["shares"]  # as if recipes had not known them yet
    begun.write_text(json.dumps(older))
    compare([plain], tmp_path / "out")
    assert len(trained) == 3
    other = Variant("own-0", replace(plan, steps=5), plain.make)
    with pytest.raises(InputError, match="own-0-0: begun with another steps; choose another folder"):
        compare([other], tmp_path / "out")


def test_a_comparison_wants_something_to_score_on(folder: Path, tmp_path: Path) -> None:  # noqa: F811
    with pytest.raises(InputError, match="expected a set to score on"):
        compare([Variant("own", recipe(folder, tmp_path, validation=""), Own)], tmp_path)
    alone = OwnConfig(scale=1)
    for entry in (
        Variant("own", recipe(folder, tmp_path, devices=2), Own),
        Variant("own", recipe(folder, tmp_path, projection="erp"), Own),
        Variant("own", recipe(folder, tmp_path), lambda: Own(alone)),
    ):
        with pytest.raises(UsageError, match="enlarge flat photographs, and train on one device"):
            compare([entry], tmp_path)
    with pytest.raises(InputError, match="sets of different names"):
        compare([Variant("own", recipe(folder, tmp_path), Own)], tmp_path, data=[folder / "set/x4"])


def test_variants_change_one_thing_each(folder: Path, tmp_path: Path) -> None:  # noqa: F811
    plan = recipe(folder, tmp_path, patch=32, attention_first=0.0)
    changed = {name: replace(plan, **changes) for name, changes in VARIANTS.items()}
    for name, each in changed.items():
        differs = [part for part in vars(plan) if getattr(plan, part) != getattr(each, part)]
        assert len(differs) == (0 if name == "window-16" else 1), name
    assert len(set(changed.values())) == len(VARIANTS)


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
def test_an_ablation_from_the_command_line(
    folder: Path,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(
        f'photos = "{folder}/photos"\nvalidation = "{folder}/set/x4"\noutput = "{tmp_path}/out"\n'
        'model = "tiny"\n'
        "blocks = [1]\nsteps = 9\nbatch = 2\npatch = 32\nwarmup = 1\nvalidate_every = 5\nholdout = 3\n"
    )
    options = ["--steps", "2", "--variants", "no-offsets", "window-8"]
    with pytest.raises(SystemExit) as ended:
        command_line(["ablate", str(path), *options])
    assert ended.value.code == 0
    table = (tmp_path / "out" / "findings.md").read_text()
    assert [line.split(" |")[0] for line in table.splitlines() if line[:3] in ("| f", "| n", "| w")] == [
        *("| full", "| no-offsets", "| window-8"),
        *("| full", "| no-offsets", "| window-8"),
    ]
    assert "training: 2 steps" in table
    assert table in capsys.readouterr().out
    config = json.loads((tmp_path / "out/runs/window-8-0/begun.json").read_text())
    assert config["window"] == 8
    assert PRESETS["tiny"].blocks != (1,), "the recipe's blocks, not the preset's"


@pytest.mark.usefixtures("tiny")
def test_an_ablation_says_what_is_wrong(folder: Path, tmp_path: Path) -> None:  # noqa: F811
    plan = recipe(folder, tmp_path, model="tiny", patch=48)
    with pytest.raises(UsageError, match="no variant colour; there are no-offsets, "):
        ablate(plan, tmp_path / "out", variants=["no-offsets", "colour"])
    with pytest.raises(ValueRangeError, match="patch must be a multiple of 32"):
        ablate(plan, tmp_path / "out")
    assert not (tmp_path / "out").exists(), "before anything is begun"


@pytest.mark.usefixtures("tiny")
@pytest.mark.slow
def test_a_whole_ablation(folder: Path, tmp_path: Path) -> None:  # noqa: F811
    plan = recipe(folder, tmp_path, model="tiny", patch=32, attention_first=0.0, validate_every=4)
    files = ablate(plan, tmp_path / "out", seeds=(0, 1))
    rows = json.loads(files[1].read_text())["rows"]
    assert [each["name"] for each in rows] == ["full", *(name for name in VARIANTS if name != "window-16")]
    assert all(each["seeds"] == [0, 1] for each in rows)
    assert "Noise: one seed's difference" in files[0].read_text()
