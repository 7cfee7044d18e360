"""The recipes that make the embedded weights: a chain from nothing, and the paper's own schedule."""

import runpy
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from camixersr.catalogue import embedded
from camixersr.models import PRESETS, CAMixerSR, CAMixerSRConfig
from camixersr.train.rates import factor, make_optimizer
from camixersr.train.recipe import Recipe, load_recipe
from camixersr.weights import load_file
from tests.conftest import ROOT, noise_picture

TOOL = runpy.run_path(str(ROOT / "tools" / "weights.py"))


def test_the_chain_has_no_circles_and_ends_in_every_embedded_model() -> None:
    recipes = TOOL["legs"]()
    made: list[Path] = []
    for recipe in recipes.values():
        assert not recipe.start or Path(recipe.start) in made
        made.append(TOOL["made_by"](recipe))
    assert len(set(made)) == len(made)
    assert not next(iter(recipes.values())).start
    assert {name for _, name in TOOL["CHAIN"].values() if name} == set(embedded())


def test_the_hours_and_steps_of_the_chain_are_those_of_the_log() -> None:
    guide = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    for name, recipe in TOOL["legs"]().items():
        hours, _ = TOOL["CHAIN"][name]
        assert f"| `{name}` | {recipe.steps:,} | {hours:.2f} |" in guide


def test_recipes_lie_where_data_says(monkeypatch: pytest.MonkeyPatch) -> None:
    file = ROOT / "recipes" / "s-360-x2.toml"
    monkeypatch.setenv("DATA", "/elsewhere")
    assert load_recipe(file).flat_photos == "/elsewhere/train"
    monkeypatch.delenv("DATA")
    assert load_recipe(file).photos == "data/pano/train"


def train(recipe: Recipe) -> Path:
    pytest.importorskip("lightning", reason="needs the extra `train`: lightning is not installed")
    from camixersr.train.fit import fit

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lightning's own, about its future
        return fit(recipe)


@pytest.mark.slow
def test_a_small_chain_runs_from_nothing_to_every_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every leg with its own start, data, policy and rates; fewer steps, blocks and pixels."""
    pytest.importorskip("lightning", reason="needs the extra `train`: lightning is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA", "sets")
    folders = {"train": (160, 160), "pano/train": (128, 256)}
    folders |= {f"bench/Set5/x{scale}/high": (96, 96) for scale in (2, 3, 4)}
    for folder, (height, width) in folders.items():
        Path("sets", folder).mkdir(parents=True)
        for number in range(3):
            picture = noise_picture(height, width, seed=number)
            Image.fromarray(picture).save(Path("sets", folder, f"{number}.png"))
    small = {
        name: replace(
            recipe, steps=2, batch=2, patch=16, blocks=(1, 1), warmup=1, validate_every=2, holdout=2,
            flat_holdout=2, kernels="torch", precision="fp32", teacher="", hint_weight=0.0,
        )
        for name, recipe in TOOL["legs"]().items()
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        files = TOOL["run"](small)
    assert {file.stem for file in files} == set(embedded())
    for file in files:
        model, shipped = load_file(file), load_file(embedded()[file.stem])
        assert model.name == shipped.name
        assert model.calibration is not None
        for what in ("channels", "scale", "latitude"):
            assert getattr(model.config, what) == getattr(shipped.config, what)
    made = list(map(TOOL["made_by"], small.values()))
    times = [file.stat().st_mtime_ns for file in made]
    TOOL["run"](small)
    assert times == [file.stat().st_mtime_ns for file in made], "what is there is not done again"


def test_the_papers_schedule_is_the_papers() -> None:
    """Section 4 of the paper, and the example of its code."""
    recipe = load_recipe(ROOT / "recipes" / "paper-b-x4.toml")
    network = CAMixerSR(CAMixerSRConfig(channels=12, scale=4, blocks=(1,)))
    optimizer = make_optimizer(network, recipe)
    assert {group["lr"] for group in optimizer.param_groups} == {5e-4}, "one rate for all layers"
    assert not any(group.get("muon") for group in optimizer.param_groups)
    assert {tuple(group["betas"]) for group in optimizer.param_groups} == {(0.9, 0.99)}
    assert {group["weight_decay"] for group in optimizer.param_groups} == {1e-4}
    shares = [factor(recipe, step) for step in (0, 249_999, 250_000, 400_000, 450_000, 475_000, 499_999)]
    assert shares == [1, 1, 1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 16]
    assert (recipe.steps, recipe.batch, recipe.patch) == (500_000, 64, 64)
    assert (recipe.ema, recipe.ratio) == (0.999, 0.5)
    assert (recipe.routing, recipe.routing_weight, recipe.gate_weight) == ("paper", 1.0, 0.0)
    assert (recipe.clip, recipe.warmup, recipe.plain, recipe.start) == (0.0, 0, 0.0, "")


def test_the_papers_schedule_trains_from_a_plain_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "tiny", CAMixerSRConfig(channels=12, scale=4, blocks=(1, 1)))
    (tmp_path / "photos").mkdir()
    for number in range(3):
        Image.fromarray(noise_picture(160, 160, seed=number)).save(tmp_path / "photos" / f"{number}.png")
    paper = load_recipe(ROOT / "recipes" / "paper-b-x4.toml")
    recipe = replace(
        paper, photos=str(tmp_path / "photos"), validation="", output=str(tmp_path / "run"), model="tiny",
        steps=2, batch=2, patch=16, validate_every=2, devices=1, halve_at=(1,),
    )  # fmt: skip
    trained = load_file(train(recipe))
    assert trained.config.pool == 0, "channel attention pools over the image"
    torch.manual_seed(recipe.seed)
    start = CAMixerSR(trained.config)
    for name, before in start.state_dict().items():
        after = trained.network.state_dict()[name]
        moved = (after - before).abs().max().item()
        assert moved <= 2 * (5e-4 + 2.5e-4), f"{name}: two steps of AdamW from torch's own start"
    assert any(
        not np.array_equal(a, b)
        for a, b in zip(start.state_dict().values(), trained.network.state_dict().values(), strict=True)
    )
