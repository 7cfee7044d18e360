"""What spandrel loads of ours has our pixels."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from camixersr.adapters import spandrel as adapter
from camixersr.catalogue import embedded, find
from camixersr.enlarge.upscaler import Upscaler
from camixersr.errors import MissingExtraError, ValueRangeError
from camixersr.weights import Model, save
from tests.conftest import noise_picture, random_network, shared


@pytest.fixture
def spandrel(monkeypatch: pytest.MonkeyPatch) -> Any:
    """spandrel; torchvision, which only two of its architectures ask for, need not be there."""
    if importlib.util.find_spec("torchvision") is None:
        functional: Any = ModuleType("torchvision.transforms.functional")
        functional.InterpolationMode = functional.rotate = functional.normalize = None
        for name in ("torchvision", "torchvision.transforms"):
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
        monkeypatch.setitem(sys.modules, functional.__name__, functional)
    return pytest.importorskip("spandrel", reason="needs spandrel, which is not installed")


def tensor(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255


def difference(descriptor: Any, model: Model, *, ratio: float = 0.5) -> int:
    """The largest difference from what our own API makes of a picture, of 255."""
    picture = noise_picture(53, 70)
    ours = Upscaler(model).upscale(picture, attention_ratio=ratio)
    theirs = descriptor(tensor(picture))[0].permute(1, 2, 0).numpy()
    return int(abs(np.round(theirs * 255) - ours.astype(float)).max())


@pytest.mark.parametrize("name", embedded())
def test_embedded_files(spandrel: Any, name: str) -> None:
    adapter.install()
    found = spandrel.ModelLoader().load_from_file(embedded()[name])
    model = find(name)
    assert isinstance(found, spandrel.ImageModelDescriptor)
    assert found.architecture.id == "CAMixerSR"
    assert found.scale == model.config.scale
    assert found.purpose == ("SR" if found.scale > 1 else "Restoration")
    assert found.tiling == spandrel.ModelTiling.SUPPORTED
    assert difference(found, model) <= 1


def test_the_authors_file(spandrel: Any) -> None:
    path = shared("official/CAMixerSR_S.pth")
    adapter.install()
    found = spandrel.ModelLoader().load_from_file(path)
    assert (found.scale, found.tags[0]) == (4, "S")
    assert found.tiling == spandrel.ModelTiling.DISCOURAGED
    assert difference(found, find(path)) <= 1


def test_any_size_needs_no_padding(spandrel: Any) -> None:
    found = adapter.load(embedded()["s-x2"])
    for height, width in ((1, 1), (5, 33)):
        assert found.size_requirements.check(width, height)
        assert found(torch.rand(1, 3, height, width)).shape == (1, 3, 2 * height, 2 * width)


def test_the_ratio_is_that_of_the_last_call(spandrel: Any) -> None:
    for ratio in (0.0, 1.0):
        adapter.install(ratio)
        found = spandrel.ModelLoader().load_from_file(embedded()["s-x4"])
        assert difference(found, find("s-x4"), ratio=ratio) <= 1
    with pytest.raises(ValueRangeError):
        adapter.install(1.5)
    adapter.install()


def test_a_network_of_ones_own(spandrel: Any, tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    model = Model("own", random_network(16))
    save(path, model)
    adapter.install()
    found = spandrel.ModelLoader().load_from_file(path)
    assert found.tags[0] == "16ch"
    assert difference(found, model) <= 1
    assert torch.equal(adapter.load(path)(torch.ones(1, 3, 8, 8)), found(torch.ones(1, 3, 8, 8)))


def test_others_are_left_to_others(spandrel: Any) -> None:
    adapter.install()
    known = spandrel.MAIN_REGISTRY[adapter.ID]
    assert not known.detect({"a.weight": torch.ones(1)})
    assert not known.detect({"body.0.predictor.x": torch.ones(1)})


def test_without_spandrel_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(MissingExtraError, match="spandrel"):
        adapter.install()
