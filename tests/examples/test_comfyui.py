"""The node for ComfyUI, in a stand-in for ComfyUI."""

import asyncio
import importlib.util
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from camixersr import load
from camixersr.routemap import heat
from tests.conftest import ROOT, noise_picture

FOLDER = ROOT / "examples" / "comfyui" / "comfyui-camixersr"


class Input:
    """An input or output of a V3 schema: what it was made of."""

    def __init__(self, *names: str, **facts: Any) -> None:
        self.names, self.facts = names, facts


def stub(monkeypatch: pytest.MonkeyPatch, *, v3: bool, stop: bool = False) -> list[int]:
    """ComfyUI's modules, as far as a node uses them; where its progress bar was."""
    places: list[int] = []

    class ProgressBar:
        def __init__(self, total: int) -> None:
            self.total = total

        def update_absolute(self, value: int) -> None:
            assert 0 <= value <= self.total
            places.append(value)

    def check() -> None:
        if stop:
            raise InterruptedError

    made: dict[str, Any] = {name: ModuleType(name) for name in ("comfy", "comfy.utils", "comfy_api")}
    made["comfy.utils"].ProgressBar = ProgressBar
    made["comfy.model_management"] = ModuleType("comfy.model_management")
    made["comfy.model_management"].throw_exception_if_processing_interrupted = check
    version: Any = ModuleType("comfy_api.v0_0_2")
    kind = SimpleNamespace(Input=Input, Output=Input)
    version.ComfyExtension = type("ComfyExtension", (), {})
    version.io = SimpleNamespace(
        ComfyNode=type("ComfyNode", (), {}),
        Schema=lambda **facts: SimpleNamespace(**facts),
        Image=kind,
        Combo=kind,
        Float=kind,
        NodeOutput=lambda *results: SimpleNamespace(result=results),
    )
    made["comfy_api.v0_0_2"] = version if v3 else None
    for name, module in made.items():
        monkeypatch.setitem(sys.modules, name, module)
    return places


def node() -> ModuleType:
    spec = importlib.util.spec_from_file_location("custom_nodes_camixersr", FOLDER / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def batch() -> torch.Tensor:
    pictures = [noise_picture(20, 33, seed=seed) for seed in (0, 1)]
    return torch.from_numpy(np.stack(pictures)).float() / 255


def check(images: torch.Tensor, maps: torch.Tensor) -> None:
    assert images.shape == (2, 40, 66, 3)
    assert maps.shape == (2, 2, 3, 3)
    upscaler = load("s-x2")
    for low, high, shown in zip(batch(), images, maps, strict=True):
        picture = (low.numpy() * 255).round().astype(np.uint8)
        ours = upscaler.upscale(picture, attention_ratio=0.25)
        assert abs((high.numpy() * 255).round() - ours).max() <= 1
        shares = upscaler.run(low.permute(2, 0, 1), attention_ratio=0.25).shares
        assert np.allclose(shown.numpy() * 255, heat(shares), atol=1e-3)


def test_the_v3_schema(monkeypatch) -> None:
    places = stub(monkeypatch, v3=True)
    module = node()
    assert not hasattr(module, "NODE_CLASS_MAPPINGS"), "with these ComfyUI would not look at the schema"
    (found,) = asyncio.run(asyncio.run(module.comfy_entrypoint()).get_node_list())
    schema = found.define_schema()
    assert [each.names[0] for each in schema.inputs] == ["image", "model", "attention_ratio"]
    defaults = {each.names[0]: each.facts.get("default") for each in schema.inputs[1:]}
    assert defaults == {"model": "s-x4", "attention_ratio": 0.5}
    assert len(schema.outputs) == 2
    check(*found.execute(image=batch(), model="s-x2", attention_ratio=0.25).result)
    assert places == sorted(places)
    assert places[-1] == 200


def test_the_first_schema(monkeypatch) -> None:
    stub(monkeypatch, v3=False)
    module = node()
    (found,) = module.NODE_CLASS_MAPPINGS.values()
    asked = found.INPUT_TYPES()["required"]
    assert asked["model"][1]["default"] in asked["model"][0]
    rgba = torch.cat((batch(), torch.ones(2, 20, 33, 1)), dim=3)
    check(*getattr(found(), found.FUNCTION)(image=rgba, model="s-x2", attention_ratio=0.25))
    assert len(found.RETURN_TYPES) == len(found.RETURN_NAMES) == 2


def test_the_user_may_stop_it(monkeypatch) -> None:
    stub(monkeypatch, v3=False, stop=True)
    module = node()
    with pytest.raises(InterruptedError):
        module.enlarge(batch(), "s-x2", 0.0)
