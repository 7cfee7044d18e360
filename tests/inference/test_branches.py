"""A ClassSR with a network for each class: three widths, the authors' file, ours."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from camixersr.backends.classes import PatchClasses
from camixersr.catalogue import OFFICIAL
from camixersr.data import open_set
from camixersr.errors import CheckpointError, UsageError
from camixersr.evaluation import PAPER_PATCHES, evaluate, paper_tiles
from camixersr.models import Classes
from camixersr.nn import TopShare
from camixersr.operations import count, count_classifier
from camixersr.tensors import from_array, to_array
from camixersr.weights import Model, load_file, save
from tests.conftest import TensorComputer, noise_picture, random_network, run
from tests.inference.test_classes import classifier

WIDTHS = (8, 10, 12)
PICTURE = noise_picture(70, 100)
LOW = from_array(PICTURE)


def model(ratios: tuple[float, ...] = (0.25, 0.5, 0.75)) -> Model:
    networks = tuple(random_network(width, blocks=(1,), seed=width) for width in WIDTHS)
    classes = Classes(classifier(LOW), ratios)
    return Model("widths", networks[-1], classes=classes, branches=networks)


def test_each_patch_is_what_its_classs_network_makes_of_the_picture() -> None:
    own = model()
    assert own.classes is not None
    result = TensorComputer(own, device="cpu").run(LOW)
    patches = own.classes.classifier.classes(LOW[None])[0]
    found = set()
    macs = count_classifier(patches.numel())
    for number, (network, ratio) in enumerate(zip(own.branches, own.classes.ratios, strict=True)):
        high, routing = network.route(LOW[None], TopShare(ratio))
        if bool((patches == number).any()):
            attended = int(routing.attended.sum())
            macs += count(network.config, windows=routing.rows * routing.columns, attended=attended).total
        for row, column in (patches == number).nonzero().tolist():
            part = (slice(None), slice(64 * row, 64 * row + 64), slice(64 * column, 64 * column + 64))
            torch.testing.assert_close(result.high[part], high[0][part], rtol=0, atol=1e-4)
            found.add(number)
    assert found == {0, 1, 2}
    assert result.macs == macs
    assert 0.2 < result.attention_share < 0.8


def test_in_tiles_only_those_with_a_patch_of_the_class_are_computed() -> None:
    """What tiles differ by is what channel attention knows: `test_tiles_agree_with_the_whole`."""
    low = np.concatenate([LOW.numpy()] * 3, axis=2)
    own = model()
    whole = TensorComputer(own, device="cpu", tile=0).run(low)
    tiled = TensorComputer(own, device="cpu", tile=64).run(low)
    assert np.array_equal(whole.classes, tiled.classes)
    assert np.abs(whole.high - tiled.high).mean() < 0.02
    assert tiled.tiles > 3


def test_our_file_comes_back_as_it_was(tmp_path: Path) -> None:
    before = model()
    save(tmp_path / "a.safetensors", before)
    after = load_file(tmp_path / "a.safetensors")
    assert [each.config.channels for each in after.branches] == list(WIDTHS)
    assert after.source is after.branches[-1]
    assert after.parameters == before.parameters
    assert after.classes is not None
    assert after.classes.ratios == (0.25, 0.5, 0.75)
    one, two = (TensorComputer(each, device="cpu").run(LOW) for each in (before, after))
    assert torch.equal(one.high, two.high)
    save(tmp_path / "b.safetensors", after)
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def authors_names(own: Model) -> dict[str, torch.Tensor]:
    """The tensors as the authors' ClassSR file calls and shapes them."""
    from tests.test_weights import authors_names as of_network

    assert own.classes is not None
    state: dict[str, torch.Tensor] = {}
    for number, network in enumerate(own.branches, 1):
        state |= {f"net{number}.{name}": value for name, value in of_network(network).items()}
    theirs = {"patch": "CondNet.0", "out": "lastOut"}
    theirs |= {f"hidden.{n}": f"CondNet.{2 * n + 2}" for n in range(4)}
    for name, value in own.classes.classifier.state_dict().items():
        layer, kind = name.rsplit(".", 1)
        state[f"classifier.{theirs[layer]}.{kind}"] = value
    return state


def test_the_authors_file_loads(tmp_path: Path) -> None:
    """Its names are those of their code: `classifier.CondNet`, `lastOut`, `net1` to `net3`."""
    assert OFFICIAL["official-classsr-x4"].path.endswith("ClassSR.pth")
    own = model((0.25, 0.30, 0.50))
    torch.save({"params": authors_names(own)}, tmp_path / "ClassSR.pth")
    loaded = load_file(tmp_path / "ClassSR.pth")
    assert loaded.classes is not None
    assert loaded.classes.ratios == (0.25, 0.30, 0.50)
    one, two = (TensorComputer(each, device="cpu").run(LOW) for each in (own, loaded))
    assert torch.equal(one.high, two.high)
    state = authors_names(own)
    state.pop("net2.head.weight")
    torch.save({"params": state}, tmp_path / "less.pth")
    with pytest.raises(CheckpointError, match=r"head\.weight"):
        load_file(tmp_path / "less.pth")


def test_the_papers_patches_are_of_one_class_each(tmp_path: Path) -> None:
    own = model()
    computer = TensorComputer(own, device="cpu")
    high, _, share = paper_tiles(computer, LOW.numpy(), 0.5)
    assert own.classes is not None
    corner = LOW[None, :, :32, :32]
    number = int(PatchClasses(own.classes.classifier, "cpu").of_patches(corner.numpy())[0, 0, 0])
    alone, _ = own.branches[number].route(corner, TopShare(own.classes.ratios[number]))
    np.testing.assert_allclose(high[:, :56, :56], alone[0, :, :56, :56].numpy(), atol=1e-4)
    assert 0.0 < share < 1.0
    Image.fromarray(noise_picture(128, 128)).save(tmp_path / "a.png")
    rows, _ = evaluate([computer], open_set(tmp_path), attention_ratios=[0.5], protocol="large")
    assert [row.model for row in rows] == ["bicubic", "widths", f"widths {PAPER_PATCHES}"]


def test_pictures_in_memory_are_enlarged_and_what_needs_one_policy_is_refused(tmp_path: Path) -> None:
    own = model()
    save(tmp_path / "w.safetensors", own)
    Image.fromarray(PICTURE).save(tmp_path / "a.png")
    made = tmp_path / "b.png"
    assert run("upscale", tmp_path / "a.png", "-o", made, "--model", tmp_path / "w.safetensors") == 0
    expected = to_array(TensorComputer(own, device="cpu").run(LOW.numpy(), attention_ratio=0.5).high)
    assert np.abs(np.asarray(Image.open(made)).astype(int) - expected).max() <= 1
    with pytest.raises(UsageError, match="a network of its own for each class"):
        TensorComputer(model(), device="cpu").policy_of(LOW.numpy(), 0.5)
    with pytest.raises(UsageError, match="no limit"):
        TensorComputer(model(), device="cpu").run(LOW.numpy(), max_share=0.5)


def test_files_with_wrong_branches_are_refused(tmp_path: Path) -> None:
    own = model()
    other = random_network(8, scale=3, blocks=(1,))
    for branches in ((other, *own.branches[1:]), own.branches[1:]):
        save(tmp_path / "w.safetensors", replace(own, branches=branches))
        with pytest.raises(CheckpointError, match="3 networks of one scale"):
            load_file(tmp_path / "w.safetensors")
