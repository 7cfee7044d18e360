"""What the documents show runs: their Python, and their command lines' options."""

import os
import re
import shlex
import subprocess
from itertools import pairwise
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
import torch
from PIL import Image

from camixersr.catalogue import find
from camixersr.cli import main
from camixersr.export.files import export
from tests.conftest import ROOT, shared

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
    pillow_heif.from_pillow(part.convert("RGB")).save(tmp_path / "photos" / "IMG_0001.HEIC", quality=90)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize(("page", "code"), blocks("python"))
def test_python_runs(page: str, code: str) -> None:
    for name, ratio in (("s-x4.onnx", None), ("s-x4-simple.onnx", 0.5)):
        if name in code:  # as `camixersr export` writes it
            photos = [torch.rand(3, 32, 32)]
            export(find("s-x4"), Path(name), to="onnx", photos=photos, attention_ratio=ratio)
    given = {"x": torch.rand(1, 32, 32, 64), "condition": torch.zeros(1, 32, 32, 4)}
    exec(compile(code, page, "exec"), given)


def test_the_script_for_an_exported_file_runs_the_authors_models(workplace: Path) -> None:
    """Which have no thresholds and pool over the whole image; half of the windows are attended."""
    model = find(shared("official/CAMixerSR_S.pth"))
    export(model, Path("s-x4.onnx"), to="onnx", photos=[torch.rand(3, 32, 32)])
    (code,) = (code for _, code in blocks("python") if '"s-x4.onnx"' in code)
    exec(compile(code, "runtimes.md", "exec"), {})
    with Image.open(workplace / "photo.jpg") as photo, Image.open(workplace / "photo_x4.png") as made:
        low = torch.from_numpy(np.array(photo.convert("RGB"))).permute(2, 0, 1)[None] / 255
        high = np.asarray(made).astype(float)
    expected, _ = model.network.route(low, model.policy(0.5))
    pixels = expected[0].permute(1, 2, 0).clamp(0, 1).numpy() * 255
    assert abs(high - pixels).max() < 0.51


def commands() -> list[str]:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    found = re.findall(r"^\$ (?:\.venv/bin/)?camixersr ((?:upscale|restore) .*)$", text, re.MULTILINE)
    return sorted(set(found))


@pytest.mark.parametrize("command", commands())
def test_commands_run(command: str, workplace: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(shlex.split(command, comments=True))
    assert ended.value.code == 0
    wanted = [word for option, word in pairwise(command.split()) if option in ("-o", "--compare")]
    if not {"-o", "--preview"} & set(command.split()):
        what = "restored" if command.startswith("restore") else "x4"
        wanted.append(f"photos_{what}" if "photos/" in command else f"photo_{what}.jpg")
    for name in wanted:
        assert (workplace / name).exists()


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_newcomer_gets_from_a_clone_to_a_page(workplace: Path) -> None:
    """The first page's five commands, as they are written, in a shell; they install from the registry."""
    text = (ROOT / "docs" / "start.md").read_text(encoding="utf-8").split("in five commands")[1]
    lines = re.findall(r"^\$ (.*)$", text.split("```")[1], re.MULTILINE)
    assert len(lines) == 5
    place = workplace / "new"
    place.mkdir()
    clone, *others = (line.replace("ADDRESS", shlex.quote(str(ROOT))) for line in lines)
    script = "\n".join(("set -e", clone, f"cp -r {shlex.quote(str(workplace / 'photos'))} photos", *others))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ended = subprocess.run(
        ["bash", "-c", script], cwd=place, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    made = place / "camixersr"
    assert sorted(each.name for each in (made / "photos_x4").glob("*.jpg")) == [
        "IMG_0001_x4.jpg",
        "one_x4.jpg",
    ]
    with Image.open(made / "screen" / "one_fit3840x2160.jpg") as screen:
        assert 3840 in screen.size or 2160 in screen.size
    assert (made / "big.jpg").exists()
    assert "<html" in (made / "before-after.html").read_text(encoding="utf-8")[:200]
