"""Defaults of one's own, completion, how much is said, and `info`."""

import json
import logging
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from camixersr.catalogue import find
from camixersr.cli import app, bars
from camixersr.cli.bars import Bars
from tests.conftest import noise_picture, run


@pytest.fixture
def photo(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(noise_picture(20, 24)).save("photo.png")
    return Path("photo.png")


@pytest.fixture
def configured(tmp_path: Path, monkeypatch) -> Path:
    file = tmp_path / "camixersr.toml"
    file.write_text('[upscale]\nattention-ratio = 0.25\nscale = 2\n[restore]\nformat = "png"\n')
    monkeypatch.setenv("CAMIXERSR_CONFIG", str(file))
    return file


def facts(*more: object) -> dict:
    assert run("upscale", "photo.png", "--overwrite", "--json", "facts.json", *more) == 0
    return json.loads(Path("facts.json").read_text())


@pytest.mark.usefixtures("configured")
def test_typed_before_environment_before_file_before_default(photo: Path, monkeypatch) -> None:
    monkeypatch.setenv("CAMIXERSR_UPSCALE_ATTENTION_RATIO", "0.75")
    made = facts("--routing", "top-share")
    assert made["attention_ratio"] == 0.75  # not the file's
    assert made["high_size"] == [48, 40]  # the file's
    assert facts("--attention-ratio", "1")["attention_ratio"] == 1
    monkeypatch.delenv("CAMIXERSR_UPSCALE_ATTENTION_RATIO")
    assert facts()["attention_ratio"] == 0.25
    monkeypatch.setenv("CAMIXERSR_CONFIG", "off")
    assert facts("--scale", "4")["attention_ratio"] == find("s-x4").attention_ratio != 0.25


def test_help_tells_where_defaults_come_from(configured: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("CAMIXERSR_UPSCALE_DEVICE", "cpu")
    assert run("upscale", "--help") == 0
    said = capsys.readouterr().out
    assert f"--attention-ratio 0.25 (from {configured})" in said
    assert "--device cpu (from CAMIXERSR_UPSCALE_DEVICE)" in said
    run("evaluate", "--help")
    assert "Your defaults" not in capsys.readouterr().out
    run("--help")
    assert "Your defaults" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[upscale]\nattention-rati = 1\n", "attention-ratio"),
        ("[upscale\n", "camixersr: "),
        ("upscale = 3\n", "must be a mapping"),
        ("[upscale]\nscale = 'large'\n", "large"),
    ],
)
def test_a_wrong_file_is_one_line(photo: Path, configured: Path, capsys, text: str, said: str) -> None:
    configured.write_text(text)
    assert run("upscale", photo) == 2
    line = capsys.readouterr().err
    assert said in line
    assert line.count("\n") == 1
    assert not Path("photo_x4.png").exists()
    assert run("upscale", "--help") == 0  # which still helps
    assert "cannot be read" in capsys.readouterr().out or "scale" in text


def test_a_named_file_must_be_there(photo: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("CAMIXERSR_CONFIG", "nowhere.toml")
    assert run("upscale", photo) == 3
    assert "nowhere.toml" in capsys.readouterr().err


def test_quiet_says_errors_alone(photo: Path, capsys) -> None:
    assert run("upscale", photo, "--quiet") == 0
    assert capsys.readouterr() == ("", "")
    assert run("upscale", photo, "--quiet") != 0  # it exists
    assert "exists" in capsys.readouterr().err
    assert run("upscale", photo, "--quiet", "--verbose") == 2


def test_verbose_says_what_is_done(photo: Path, capsys) -> None:
    assert run("upscale", photo, "--verbose") == 0
    said = capsys.readouterr().err
    for words in ("model s-x4:", "24 x 20 by s-x4 on cpu in fp32", "photo_x4.png: written in"):
        assert words in said
    assert logging.getLogger("camixersr").level == logging.NOTSET
    assert run("upscale", photo, "--overwrite") == 0
    assert "model s-x4" not in capsys.readouterr().err


def test_a_log_file_gets_a_line_now_and_then(capsys, monkeypatch) -> None:
    now = [0.0]
    with Bars(2, clock=lambda: now[0]) as shown:
        shown.begin("a.png")
        for step in range(1, 101):
            now[0] += 1.0
            shown(step, 100)
        shown.finished(True)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "camixersr: a.png: 30 %, 0:01:10 left, 0 of 2 pictures done"
    assert len(lines) == 3
    assert not any("\x1b" in line or "\r" in line for line in lines)
    monkeypatch.setattr(bars, "is_quiet", lambda: True)
    with Bars(1, clock=lambda: now[0]) as shown:
        now[0] += 100
        shown(1, 2)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_installed_for_a_shell(shell: str, tmp_path: Path, monkeypatch, capsys) -> None:
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZSH_CUSTOM"):
        monkeypatch.setenv(name, str(tmp_path)) if name == "HOME" else monkeypatch.delenv(name, False)
    assert run("completion", shell) == 0
    file = Path(capsys.readouterr().out.strip())
    assert file.is_relative_to(tmp_path)
    text = file.read_text()
    assert "attention-ratio" in text
    assert run("completion", shell, "--show") == 0
    assert capsys.readouterr().out.strip() == text.strip()
    if found := shutil.which(shell):
        subprocess.run([found, "-n", str(file)], check=True)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash, which is not here")
def test_tab_completes_in_bash(tmp_path: Path) -> None:
    file = tmp_path / "completion"
    file.write_text(app.generate_completion(shell="bash"))
    script = f"""source {file}
    complete -p camixersr | sed 's/.*-F \\([^ ]*\\).*/\\1/' > {tmp_path}/name
    for typed in "camixersr ups" "camixersr upscale --attention-r"; do
      COMP_WORDS=($typed); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMP_LINE=$typed
      COMP_POINT=${{#typed}}; COMPREPLY=()
      $(cat {tmp_path}/name) camixersr "${{COMP_WORDS[COMP_CWORD]}}" ""
      echo "${{COMPREPLY[@]}}"
    done"""
    ended = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["upscale", "--attention-ratio"], ended.stderr


def test_info_tells_what_would_become_of_a_picture(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    deep = np.zeros((20, 30, 4), np.uint16) + 40000
    import tifffile

    tifffile.imwrite("deep.tif", deep, photometric="rgb", extrasamples=["unassalpha"])
    assert run("info", "deep.tif", "--no-measure", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["size"], told["depth"], told["alpha"]) == ([30, 20], "16", True)
    assert (told["result_size"], told["result_format"], told["model"]) == ([120, 80], ".tif", "s-x4")
    assert told["lost"] == []
    assert run("info", "deep.tif", "--no-measure", "--format", "jpg", "--scale", "2") == 0
    said = capsys.readouterr().out
    assert "transparency" in said.split("lost")[1]
    assert "s-x2" in said
    Image.fromarray(noise_picture(40, 40)).save("poor.jpg", quality=30)
    assert run("info", "poor.jpg") == 0
    said = capsys.readouterr().out
    assert "compression is undone" in said
    assert "takes    about" in said
    assert run("info", "poor.jpg", "--width", "10", "--no-measure") == 0
    assert "only reduced" in capsys.readouterr().out
    assert run("info", "nothing.jpg") == 3
