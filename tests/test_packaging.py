"""The page of the package on an index, and its metadata."""

import importlib.util
import re
import tomllib
from types import ModuleType

import pytest

from tests.conftest import ROOT

ADDRESS = "https://example.org/somebody/camixersr"


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    pytest.importorskip("hatchling", reason="needs hatchling, which builds the package: not installed")
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def filled(hooks: ModuleType) -> dict:
    metadata: dict = {}
    hooks.CustomMetadataHook(str(ROOT), {}).update(metadata)
    return metadata


def test_links_and_pictures_have_whole_addresses(hooks, monkeypatch) -> None:
    monkeypatch.setenv("CAMIXERSR_ADDRESS", ADDRESS + "/")
    monkeypatch.setenv("CAMIXERSR_REF", "v9")
    metadata = filled(hooks)
    text = metadata["readme"]["text"]
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    assert not [each for each in targets if not each.startswith(("https://", "#"))]
    pictures = re.findall(r"!\[[^]]*\]\(([^)\s]+)\)", text)
    assert pictures
    for picture in pictures:
        assert picture.startswith(f"{ADDRESS}/raw/v9/")
        assert (ROOT / picture.removeprefix(f"{ADDRESS}/raw/v9/")).is_file()
    assert metadata["urls"]["Repository"] == ADDRESS
    assert all(each.startswith(ADDRESS) for each in metadata["urls"].values())


def test_without_an_address_nothing_leads_nowhere(hooks, monkeypatch) -> None:
    monkeypatch.delenv("CAMIXERSR_ADDRESS", raising=False)
    metadata = filled(hooks)
    assert metadata["urls"] == {}
    assert not re.findall(r"\]\((?!https://|#)", metadata["readme"]["text"])
    assert "![" not in metadata["readme"]["text"]


def test_a_wrong_address_is_refused(hooks, monkeypatch) -> None:
    monkeypatch.setenv("CAMIXERSR_ADDRESS", "github.com/a/b")
    with pytest.raises(ValueError, match="expected https://"):
        filled(hooks)


def test_the_metadata_is_true() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert all((ROOT / each).is_file() for each in project["license-files"])
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8").lower().replace("_", "-")
    for needed in [*project["dependencies"], *project["optional-dependencies"]["dev"]]:
        name = re.split(r"[\[<>=]", needed)[0].lower().replace("_", "-")
        assert re.search(rf"^{re.escape(name)}==", pinned, re.MULTILINE), (
            f"{name} is not in constraints.txt"
        )
    vendored = (ROOT / "src/camixersr/web/page/vendor").glob("*LICENSE*")
    assert {str(each.relative_to(ROOT)) for each in vendored} <= set(project["license-files"])
