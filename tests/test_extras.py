"""The command that installs what is missing works where it is shown."""

import json
import re
import sys
import tomllib
from pathlib import Path

import pytest

from camixersr import extras
from tests.conftest import ROOT


class _Installed:
    def __init__(self, url: str | None) -> None:
        self.url = url

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return None if self.url is None else json.dumps({"url": self.url, "dir_info": {}})


@pytest.fixture
def own_pip(monkeypatch) -> None:
    monkeypatch.setattr(extras.shutil, "which", lambda name: str(Path(sys.executable).with_name(name)))


@pytest.mark.usefixtures("own_pip")
def test_in_a_checkout_it_is_the_folder_itself(monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    assert extras.install_line("raw") == "pip install '.[raw]'"
    monkeypatch.chdir(ROOT / "docs")
    assert extras.install_line("raw") == f"pip install '{ROOT.resolve()}[raw]'"


@pytest.mark.usefixtures("own_pip")
def test_an_installed_package_is_named_or_its_sources_are(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(
        extras, "__file__", str(tmp_path / "lib" / "site-packages" / "camixersr" / "extras.py")
    )
    monkeypatch.chdir(tmp_path)
    for url in (None, "https://example.org/camixersr.whl", "file:///nowhere/camixersr"):
        monkeypatch.setattr(extras, "distribution", lambda name, url=url: _Installed(url))
        assert extras.install_line("train") == "pip install 'camixersr[train]'"
    (tmp_path / "its sources").mkdir()
    (tmp_path / "its sources" / "pyproject.toml").touch()
    address = (tmp_path / "its sources").as_uri()
    monkeypatch.setattr(extras, "distribution", lambda name: _Installed(address))
    assert extras.install_line("train") == f"pip install '{tmp_path}/its sources[train]'"


def test_a_pip_of_another_python_is_not_meant(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(extras.shutil, "which", lambda name: "/somewhere/else/pip")
    monkeypatch.setattr(extras.sys, "executable", str(tmp_path / ".venv" / "bin" / "python"))
    monkeypatch.chdir(tmp_path)
    assert extras.install_line("raw").startswith(".venv/bin/python -m pip install '")


def test_the_extras_that_messages_name_exist() -> None:
    """pip passes over one that does not, with a warning."""
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    sources = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    named = set(re.findall(r"install_line\('(\w+)'\)", sources))
    assert named <= set(known)
    assert {"raw", "train", "report"} <= named
