"""What the documents show runs: their Python, and their command lines' options."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from PIL import Image

from camixersr.catalogue import find
from camixersr.cli import main
from camixersr.export.files import export
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        found += [(page.name, code) for code in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)]
    return found


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the pictures that the documents name: a small part of the sample."""
    (tmp_path / "samples").mkdir()
    with Image.open(ROOT / "samples" / "summer-palace.jpg") as image:
        part = image.crop((100, 100, 180, 170))
    part.save(tmp_path / "samples" / "summer-palace.jpg")
    part.save(tmp_path / "photo.jpg")
    sphere = '<rdf:Description xmlns:GPano="http://ns.google.com/photos/1.0/panorama/"'
    sphere += ' GPano:ProjectionType="equirectangular"/>'
    packet = f'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">{sphere}</rdf:RDF>'
    xmp = f'<x:xmpmeta xmlns:x="adobe:ns:meta/">{packet}</x:xmpmeta>'.encode()
    part.resize((64, 32)).save(tmp_path / "panorama.jpg", xmp=xmp)
    (tmp_path / "photos").mkdir()
    part.save(tmp_path / "photos" / "one.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize(("page", "code"), blocks("python"))
def test_python_runs(page: str, code: str) -> None:
    if "s-x4.onnx" in code:  # as `camixersr export` writes it
        export(find("s-x4"), Path("s-x4.onnx"), to="onnx", photos=[torch.rand(3, 32, 32)])
    given = {"x": torch.rand(1, 32, 32, 64), "condition": torch.zeros(1, 32, 32, 4)}
    exec(compile(code, page, "exec"), given)


def commands() -> list[str]:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    found = re.findall(r"^\$ (?:\.venv/bin/)?camixersr ((?:upscale|restore) .*)$", text, re.MULTILINE)
    return sorted(set(found))


@pytest.mark.parametrize("command", commands())
def test_commands_run(command: str, workplace: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(command, comments=True))
    assert ended.value.code == 0
    wanted = command.split("-o ")[1].split()[0] if "-o " in command else "photo_x4.jpg"
    if command.startswith("restore") and "-o " not in command:
        wanted = "photo_restored.jpg"
    assert (workplace / wanted).exists()
