"""The networks of `examples/`: they take any picture, and train as their pages say."""

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

from camixersr.nn import CAMixer, TopShare
from camixersr.train.recipe import load_recipe
from tests.conftest import ROOT, shared
from tests.train.test_train import folder  # noqa: F401

EXAMPLES = ("srresnet", "transformer")


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def small(name: str, *, mixers: bool):
    module = load(name)
    kind = module.SRResNet if name == "srresnet" else module.Transformer
    config = getattr(module, f"{kind.__name__}Config")(channels=16, blocks=2, mixers=mixers)
    return kind(config)


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("mixers", [False, True])
def test_any_picture_any_ratio(name: str, mixers: bool) -> None:
    network = small(name, mixers=mixers).eval()
    assert network.block_count == (0 if not mixers else 4 if name == "srresnet" else 2)
    for height, width in [(1, 1), (16, 16), (17, 40)]:
        for ratio in (0.0, 0.5, 1.0):
            high, routing = network.route(torch.rand(2, 3, height, width), TopShare(ratio))
            assert high.shape == (2, 3, 4 * height, 4 * width)
            assert (routing.rows, routing.columns) == (-(-height // 16), -(-width // 16))
            assert len(routing.blocks) == network.block_count
            for block in routing.blocks:
                windows = routing.rows * routing.columns
                assert int(block.attended.sum()) == 2 * int(ratio * windows + 0.5)


@pytest.mark.parametrize("name", EXAMPLES)
def test_policies_know_every_mixer_by_its_number(name: str) -> None:
    network = small(name, mixers=True).eval()
    asked = []

    class Asked(TopShare):
        def choose(self, logits, block):
            asked.append(block)
            return super().choose(logits, block)

    network.route(torch.rand(1, 3, 16, 16), Asked(0.5))
    assert asked == list(range(network.block_count))


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("mixers", [False, True])
def test_every_weight_learns(name: str, mixers: bool) -> None:
    network = small(name, mixers=mixers).train()
    high, routing = network.route(torch.rand(1, 3, 32, 32), TopShare(0.5))
    loss = high.square().mean() + sum(block.logits.square().mean() for block in routing.blocks)
    loss.backward()
    without = [each for each, weight in network.named_parameters() if weight.grad is None]
    assert without == []


def test_shifted_attention_is_local_to_its_shifted_windows() -> None:
    module = load("transformer")
    mixer = module.ShiftedWindowAttention(module.TransformerConfig(channels=8, heads=2), shift=8)
    x = torch.rand(1, 32, 32, 8, requires_grad=True)
    mixer(x)[0, 12, 12].sum().backward()
    assert x.grad is not None
    seen = x.grad.abs().sum(dim=(0, 3)) > 0
    expected = torch.zeros(32, 32, dtype=torch.bool)
    expected[8:24, 8:24] = True
    assert torch.equal(seen, expected)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_sizes_compared_are_close(name: str) -> None:
    """Where half the windows are attended, both cost about the same, or the mixers less."""
    pytest.importorskip("lightning", reason="needs the extra `train`: lightning is not installed")
    from camixersr.train.compare import count_macs

    plain, mixed = (make() for make in load(name).NETWORKS.values())
    assert not any(isinstance(module, CAMixer) for module in plain.modules())
    assert count_macs(mixed, 0.5, side=64) < 1.05 * count_macs(plain, 0.5, side=64)


@pytest.mark.filterwarnings("ignore")  # lightning's own, about its future
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(folder: Path, tmp_path: Path, monkeypatch, capsys, name: str) -> None:  # noqa: F811
    pytest.importorskip("lightning", reason="needs the extra `train`: lightning is not installed")
    pytest.importorskip("matplotlib", reason="needs the extra `report`: matplotlib is not installed")
    from camixersr.train import compare

    monkeypatch.setattr(compare, "SIDE", 32)
    monkeypatch.setattr(compare, "ROUNDS", 1)
    recipe = tmp_path / "recipe.toml"
    lines = (ROOT / "examples" / f"{name}.toml").read_text().splitlines()
    own = {
        "photos": f'"{folder}/photos"',
        "validation": f'"{folder}/set/x4"',
        "output": f'"{tmp_path}/out"',
    }
    own |= {"limit": "0", "steps": "2", "batch": "2", "patch": "16", "validate_every": "2", "holdout": "3"}
    kept = [line for line in lines if line.split(" = ")[0] not in own and not line.startswith("[")]
    recipe.write_text("\n".join([*kept, *(f"{key} = {value}" for key, value in own.items())]))
    names = load(name).NETWORKS
    networks = {
        each: lambda mixers=mixers: small(name, mixers=mixers)
        for each, mixers in zip(names, (0, 1), strict=True)
    }
    compare.main(networks, "about", [str(recipe)])
    table = (tmp_path / "out" / "findings.md").read_text()
    assert table in capsys.readouterr().out
    assert all(f"| {each} |" in table for each in names)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs_from_its_line(name: str, tmp_path: Path) -> None:
    """As docs/backbones.md has it, with fewer steps and photographs; and it does not get worse."""
    shared("data/train")
    given = load_recipe(ROOT / "examples" / f"{name}.toml")
    recipe = tmp_path / "recipe.toml"
    changed = replace(
        given,
        photos=str(shared("data/train")),
        validation=str(shared("data/bench/Set5/x4")),
        limit=12,
        steps=30,
    )
    changed = replace(changed, output=str(tmp_path / "out"), validate_every=30, warmup=5, holdout=4)
    facts = {key: value for key, value in vars(changed).items() if value not in ((), "")}
    recipe.write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in facts.items()))
    command = [sys.executable, "-W", "ignore", str(ROOT / "examples" / f"{name}.py"), str(recipe)]
    subprocess.run(command, check=True, cwd=tmp_path, timeout=280)
    rows = json.loads((tmp_path / "out" / "findings.json").read_text())["rows"]
    assert len(rows) == 2
    for row in rows:
        assert min(value for at in row["psnr"]["Set5"] for value in at) > 28.9, "the linear start has 29.1"


def test_an_example_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("lightning", reason="needs the extra `train`: lightning is not installed")
    from camixersr.train.compare import main

    with pytest.raises(SystemExit) as ended:
        main(load("srresnet").NETWORKS, "about", [str(tmp_path / "nothing.toml")])
    assert ended.value.code == 3
    assert "expected a recipe in TOML" in capsys.readouterr().err
