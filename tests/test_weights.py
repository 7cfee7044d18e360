import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file as load_tensors
from safetensors.torch import save_file

from camixersr.errors import CheckpointError, OutputError
from camixersr.models import PRESETS, CAMixerSR
from camixersr.nn import Calibration, Threshold, TopShare
from camixersr.weights import RENAMES, Model, infer_config, load_file, rename_official, save
from tests.conftest import NARROW, random_network, shared


def authors_names(network: CAMixerSR) -> dict[str, torch.Tensor]:
    """Our tensors under the authors' names and in their shapes: the rename table, backwards."""
    back = {
        "global_in.": "global_predictor.0.",
        "global_out.": "global_predictor.2.",
        ".blocks.": ".body.",
        ".feed_forward.depthwise.": ".ffn.dwconv.",
        ".feed_forward.": ".ffn.",
        ".attention.project_": ".project_",
        ".local.": ".conv_sptial.",
        ".predictor.project_in.": ".route.in_conv.0.",
        ".predictor.norm.": ".route.in_conv.1.",
        ".predictor.offsets.": ".route.out_offsets.",
        ".predictor.mask.": ".route.out_mask.",
        ".predictor.channel.": ".route.out_CA.1.",
        ".predictor.spatial.": ".route.out_SA.0.",
    }
    linear_there = (".project_q.", ".project_k.", ".route.out_mask.")
    result: dict[str, torch.Tensor] = {}
    for name, value in network.state_dict().items():
        if name.startswith("tail."):
            name = name.replace("tail.", "tail.0.")
        elif name.startswith("body.") and ".blocks." not in name:
            name = name.replace(".tail.", ".body_tail.")
        for ours, theirs in back.items():
            name = name.replace(ours, theirs)
        if value.ndim == 2 and not any(part in name for part in linear_there):
            value = value[:, :, None, None]
        result[name] = value
    return result


def same_weights(one: CAMixerSR, two: CAMixerSR) -> bool:
    a, b = one.state_dict(), two.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_load_undoes_save(tmp_path: Path) -> None:
    network = random_network(channels=20, scale=3, blocks=(1, 2))
    calibration = Calibration((0.25, 0.5), ((0.7, 0.6, 0.5), (0.5, 0.4, 0.3)))
    model = Model("mine", network, calibration, {"data": "photos, CC0"}, {"Set5/0.5": 30.1})
    save(tmp_path / "a.safetensors", model)
    back = load_file(tmp_path / "a.safetensors")
    assert same_weights(back.network, network)
    assert back.config == network.config
    assert (back.name, back.calibration) == ("mine", calibration)
    assert (back.provenance, back.scores) == (model.provenance, model.scores)
    assert len(back.sha256) == 64
    assert not back.network.training
    assert not any(parameter.requires_grad for parameter in back.network.parameters())


@pytest.mark.parametrize("widths", NARROW, ids=str)
def test_pruned_networks_come_back(tmp_path: Path, widths: dict[str, int]) -> None:
    network = random_network(**widths)
    save(tmp_path / "a.safetensors", Model("mine", network))
    back = load_file(tmp_path / "a.safetensors")
    assert same_weights(back.network, network)
    assert back.config == network.config == infer_config(network.state_dict())


def test_the_file_says_what_channel_attention_pools_over(tmp_path: Path) -> None:
    """Cells leave no trace in the tensors; a file from before there were any means the whole image."""
    network = random_network(pool=32)
    save(tmp_path / "a.safetensors", Model("mine", network))
    back = load_file(tmp_path / "a.safetensors")
    assert back.config == network.config
    assert back.config.pool == 32
    low = torch.rand(1, 3, 48, 80)
    assert torch.equal(back.network(low), network(low))

    def change(**config: object) -> Path:
        with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
            facts = file.metadata()
        known = json.loads(facts["config"]) | config
        facts["config"] = json.dumps({name: value for name, value in known.items() if value is not None})
        save_file(load_tensors(tmp_path / "a.safetensors"), tmp_path / "b.safetensors", metadata=facts)
        return tmp_path / "b.safetensors"

    assert load_file(change(pool=None)).config.pool == 0
    for pool in (40, -16, "64"):
        with pytest.raises(CheckpointError, match="metadata is damaged"):
            load_file(change(pool=pool))


def test_the_same_model_is_the_same_file(tmp_path: Path) -> None:
    """In any process: the order of its metadata is fixed. Other readers still read it."""
    model = Model("tiny", random_network(), provenance={"data": "żółte zdjęcia"}, scores={"a": 1.0})
    save(tmp_path / "a.safetensors", model)
    names = ["architecture", "config", "format", "name", "provenance", "scores"]
    for turn in range(5):
        save(tmp_path / "b.safetensors", model)
        assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes(), turn
    content = (tmp_path / "a.safetensors").read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    assert list(json.loads(content[8:start])["__metadata__"]) == names
    assert start % 8 == 0
    tensors = load_tensors(tmp_path / "a.safetensors")
    assert all(torch.equal(value, tensors[name]) for name, value in model.network.state_dict().items())


@pytest.mark.parametrize("length", [0x3080, 0x4B50], ids=["pickle", "zip"])
def test_a_header_as_long_as_another_format_begins(tmp_path: Path, length: int) -> None:
    """A safetensors file begins with its header's length, which may be any number of eights."""
    model = Model("mine", random_network(), provenance={"note": ""})
    path = tmp_path / "a.safetensors"
    save(path, model)
    more = length - int.from_bytes(path.read_bytes()[:8], "little")
    save(path, replace(model, provenance={"note": "." * more}))
    assert path.read_bytes()[:2] == length.to_bytes(2, "little")
    back = load_file(path)
    assert same_weights(back.network, model.network)
    assert back.provenance == {"note": "." * more}


def test_the_file_describes_itself(tmp_path: Path) -> None:
    save(tmp_path / "a.safetensors", Model("mine", random_network()))
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        facts = file.metadata()
    assert facts["format"] == "camixersr/1"
    assert json.loads(facts["config"])["scale"] == 2


@pytest.mark.parametrize("keys", [("params_ema", "params"), ("params",), ()])
def test_an_authors_checkpoint_is_renamed_reshaped_and_preferred_by_ema(tmp_path: Path, keys) -> None:
    good, other = random_network(seed=3), random_network(seed=4)
    state = authors_names(good)
    content = {key: state if key == (keys or [""])[0] else authors_names(other) for key in keys} or state
    torch.save(content, tmp_path / "a.pth")
    model = load_file(tmp_path / "a.pth")
    assert same_weights(model.network, good)
    assert model.config == good.config


@pytest.mark.parametrize("preset", ["s-x2", "m-x3", "b-x4"])
def test_the_configuration_is_read_off_the_shapes(preset: str) -> None:
    network = CAMixerSR(PRESETS[preset])
    assert infer_config(rename_official(authors_names(network))) == PRESETS[preset]


def test_every_rename_is_used() -> None:
    import re

    names = authors_names(random_network())
    for pattern, _ in RENAMES:
        assert any(re.search(pattern, name) for name in names), pattern


def test_the_official_file() -> None:
    model = load_file(shared("official/CAMixerSR_S.pth"))
    assert model.config == PRESETS["s-x4"]
    assert model.parameters == 351_238
    assert model.sha256 == "49ffcfbb59583b4512ed7f4290b6f480b4bac50afb3d1db1553687bbdeff3076"
    assert model.policy(0.5) == TopShare(0.5)


def test_a_calibration_makes_the_ratio_a_threshold() -> None:
    network = random_network()
    model = Model("a", network, Calibration((0.5,), ((0.4, 0.5, 0.6),)))
    assert model.policy(0.5) == Threshold((0.4, 0.5, 0.6))


class _Evil:
    def __reduce__(self):
        return (Path.touch, (Path("hacked"),))


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"params": {"head.weight": _Evil()}}, "a.pth")
    (tmp_path / "b.pth").write_bytes(pickle.dumps({"params": _Evil()}))
    for name in ("a.pth", "b.pth"):
        with pytest.raises(CheckpointError, match="plain tensors"):
            load_file(name)
    assert not (tmp_path / "hacked").exists()


def test_broken_files_are_one_clear_line(tmp_path: Path) -> None:
    good = tmp_path / "good.safetensors"
    save(good, Model("a", random_network()))
    content = good.read_bytes()
    torch.save(authors_names(random_network()), tmp_path / "good.pth")
    pth = (tmp_path / "good.pth").read_bytes()
    cases = {
        "empty": b"",
        "text": b"no weights at all",
        "cut.safetensors": content[: len(content) // 2],
        "cut.pth": pth[: len(pth) // 2],
    }
    for name, broken in cases.items():
        (tmp_path / name).write_bytes(broken)
        with pytest.raises(CheckpointError) as caught:
            load_file(tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="No such file"):
        load_file(tmp_path / "nothing")


def test_names_are_strict(tmp_path: Path) -> None:
    state = authors_names(random_network())
    torch.save({"params": state | {"extra.weight": torch.zeros(1)}}, tmp_path / "extra.pth")
    with pytest.raises(CheckpointError, match=r"unknown extra\.weight"):
        load_file(tmp_path / "extra.pth")
    missing = dict(state)
    del missing["body.0.body.1.norm1.bias"]
    torch.save({"params": missing}, tmp_path / "missing.pth")
    with pytest.raises(CheckpointError, match=r"missing body\.0\.blocks\.1\.norm1\.bias"):
        load_file(tmp_path / "missing.pth")
    torch.save({"params": state | {"body_tail.weight": torch.zeros(4, 4)}}, tmp_path / "shape.pth")
    with pytest.raises(CheckpointError, match=r"of another shape body_tail\.weight"):
        load_file(tmp_path / "shape.pth")


def test_another_network_is_refused(tmp_path: Path) -> None:
    torch.save({"params": {"conv.weight": torch.zeros(3)}}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"CAMixerSR, classic or.*head\.weight"):
        load_file(tmp_path / "a.pth")
    torch.save({"params": {"n": 3}}, tmp_path / "b.pth")
    with pytest.raises(CheckpointError, match="params_ema or params"):
        load_file(tmp_path / "b.pth")
    save_file({"a": torch.zeros(1)}, tmp_path / "c.safetensors")
    with pytest.raises(CheckpointError, match="camixersr/1"):
        load_file(tmp_path / "c.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "d.safetensors", metadata={"format": "camixersr/1"})
    with pytest.raises(CheckpointError, match="metadata is damaged"):
        load_file(tmp_path / "d.safetensors")


def test_saving_into_nowhere_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="gone"):
        save(tmp_path / "gone" / "a.safetensors", Model("a", random_network()))
