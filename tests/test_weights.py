import json
import os
import pickle
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file as load_tensors
from safetensors.torch import save_file

from camixersr.errors import CheckpointError, OutputError
from camixersr.models import PRESETS, CAMixerSR, OmniCAMixerSR, OmniCAMixerSRConfig
from camixersr.models.calibration import Calibration, Threshold
from camixersr.models.shapes import infer_config
from camixersr.nn import TopShare
from camixersr.official import RENAMES, rename_official
from camixersr.weights import Model, load_file, save
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


def edited(path: Path, tensors: dict | None = None, **metadata: object) -> Path:
    """A good file with other entries in its header: text as it is, the rest as JSON."""
    from safetensors.torch import save_file as write

    network = random_network()
    save(path, Model("good", network, Calibration((0.5,), ((0.4, 0.5, 0.6),))))
    with safe_open(path, framework="pt") as file:
        known = dict(file.metadata())
    for name, value in metadata.items():
        known[name] = value if isinstance(value, str) else json.dumps(value)
    write(tensors or load_tensors(path), path, metadata=known)
    return path


CONFIG = {"channels": 20, "scale": 2, "blocks": [2, 1], "window": 16, "latitude": False, "keys": 0,
          "values": 0, "hidden": 0, "pool": 0}  # fmt: skip


@pytest.mark.timeout(60)
@pytest.mark.parametrize("header", [
    {"config": CONFIG | {"blocks": [10**8]}}, {"config": CONFIG | {"channels": 20_000}},
    {"config": CONFIG | {"channels": 10**30}}, {"config": CONFIG | {"channels": 20.0}},
    {"config": CONFIG | {"channels": True}}, {"config": CONFIG | {"channels": "20"}},
    {"config": CONFIG | {"window": 8}}, {"config": CONFIG | {"scale": 3}},
    {"config": CONFIG | {"latitude": 1}}, {"config": CONFIG | {"keys": 19}},
    {"config": CONFIG | {"surprise": 1}}, {"config": CONFIG | {"blocks": 3}},
    {"config": CONFIG | {"blocks": [2, [1]]}}, {"config": [1, 2]}, {"config": "null"},
    {"config": "[" * 100_000}, {"config": '{"channels":' + "9" * 5000 + "}"}, {"config": "not JSON"},
    {"architecture": "OmniCAMixerSR"}, {"provenance": [1]}, {"scores": "3"}, {"provenance": "{" * 100_000},
    {"calibration": {"ratios": [0.5], "thresholds": [[0.4, 0.5]]}},
    {"calibration": {"ratios": [0.5], "thresholds": [[0.4, 0.5, float("nan")]]}},
    {"calibration": {"ratios": [0.5], "thresholds": [["a", "b", "c"]]}},
    {"calibration": {"ratios": [0.5, 0.5], "thresholds": [[0.1] * 3] * 2}},
    {"calibration": {"ratios": [float("nan")], "thresholds": [[0.1] * 3]}},
    {"calibration": {"ratios": [1.0], "thresholds": [[0.1] * 3]}},
    {"calibration": {"ratios": 0.5, "thresholds": [[0.1] * 3]}}, {"calibration": {}},
    {"restores": {"kind": "jpeg", "least": "a", "most": 3}}, {"restores": [1]},
    {"classes": {"ratios": [0.0, 0.5, 1.0]}}, {"classes": {"ratios": ["a", 1, 2]}}, {"classes": 3},
], ids=lambda header: json.dumps(header)[:60])  # fmt: skip
def test_a_header_that_lies_is_refused_before_anything_is_built(tmp_path: Path, header: dict) -> None:
    path = edited(tmp_path / "a.safetensors", **header)
    with pytest.raises(CheckpointError) as caught:
        load_file(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


@pytest.mark.timeout(60)
def test_tensors_that_would_make_a_huge_network_are_refused(tmp_path: Path) -> None:
    """One wide tensor in a small file; and a checkpoint whose shapes are views of a single number."""
    tensors = random_network().state_dict()
    wide = {**tensors, "head.weight": torch.zeros(20_000, 3, 3, 3)}
    config = asdict(infer_config(wide))
    assert config["channels"] == 20_000
    with pytest.raises(CheckpointError, match="do not fit"):
        load_file(edited(tmp_path / "a.safetensors", wide, config=config))
    state = authors_names(random_network())
    for name in state:
        state[name] = torch.zeros(1).expand([100 * each for each in state[name].shape])
    torch.save({"params": state}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="stored whole"):
        load_file(tmp_path / "a.pth")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, value: float, suffix: str) -> None:
    """They make black pictures."""
    network = random_network()
    network.body[0].blocks[0].norm1.weight[3] = value
    path = tmp_path / f"a{suffix}"
    if suffix == ".pth":
        torch.save({"params": authors_names(network)}, path)
    else:
        save(path, Model("a", network))
    with pytest.raises(CheckpointError, match=r"NaN or infinity in body\.0\.blocks\.0\.norm1\.weight"):
        load_file(path)


def test_a_checkpoint_of_odd_things_is_one_line(tmp_path: Path) -> None:
    state = authors_names(random_network())
    cases = {
        "integer keys": {3: torch.zeros(1), **state},
        "a list": [torch.zeros(1)],
        "no dimensions": {name: torch.zeros(()) for name in state},
        "whole numbers": {name: value.to(torch.int64) for name, value in state.items()},
        "sparse": {name: value.to_sparse() for name, value in state.items()},
        "escapes": {**state, "\x1b[31mred": torch.zeros(1)},
    }
    for name, content in cases.items():
        path = tmp_path / f"{name}.pth"
        torch.save({"params": content} if isinstance(content, dict) else content, path)
        with pytest.raises(CheckpointError) as caught:
            load_file(path)
        assert str(caught.value).isprintable(), name


def test_the_refusal_of_a_pickle_gives_no_dangerous_advice(tmp_path: Path) -> None:
    torch.save({"params": {"head.weight": _Evil()}}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError) as caught:
        load_file(tmp_path / "a.pth")
    assert "weights_only" not in str(caught.value)
    assert "nothing in it was run" in str(caught.value)


def test_a_compressed_checkpoint_is_not_unpacked(tmp_path: Path) -> None:
    import zipfile

    torch.save({"params": authors_names(random_network())}, tmp_path / "a.pth")
    bomb = tmp_path / "b.pth"
    good, packed = zipfile.ZipFile(tmp_path / "a.pth"), zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED)
    with good, packed:
        for name in good.namelist():
            packed.writestr(name, good.read(name))
        packed.writestr("archive/data/99", bytes(50_000_000))
    with pytest.raises(CheckpointError, match="not compressed"):
        load_file(bomb)


@pytest.mark.parametrize(
    "name", ["../../x", "/etc/passwd", "a\x1b[2Jb", "..", "", "C:\\x", "a" * 500, "n\0"]
)
def test_what_a_file_calls_its_model_is_a_name(tmp_path: Path, name: str) -> None:
    loaded = load_file(edited(tmp_path / "a.safetensors", name=name)).name
    assert loaded
    assert loaded.isprintable()
    assert Path(loaded).name == loaded
    assert len(loaded.encode()) < 200
    assert not loaded.startswith(".")


def test_a_pipe_or_a_device_is_no_file_of_weights(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(CheckpointError, match="pipe or a device"):
            load_file(path)
    with pytest.raises(CheckpointError, match="directory"):
        load_file(tmp_path)


def test_an_omnidirectional_file_under_its_former_name_loads(tmp_path: Path) -> None:
    network = OmniCAMixerSR(OmniCAMixerSRConfig(channels=12, scale=2, blocks=(1,)))
    save(tmp_path / "new.safetensors", Model("omni", network))
    with safe_open(tmp_path / "new.safetensors", "pt") as held:
        metadata, tensors = held.metadata(), {name: held.get_tensor(name) for name in held.keys()}  # noqa: SIM118
    assert metadata["architecture"] == "OmniCAMixerSR"
    save_file(tensors, tmp_path / "old.safetensors", {**metadata, "architecture": "OmniSR"})
    assert load_file(tmp_path / "old.safetensors").config == network.config
