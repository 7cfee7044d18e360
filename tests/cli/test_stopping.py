"""Ctrl-C keeps the work: the word, the end, and the command that goes on, with real signals."""

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

import camixersr
from camixersr.cli import main, stopping
from camixersr.cli.bars import Bars
from camixersr.enlarge.options import Options
from camixersr.errors import CancelledError
from camixersr.weights import Model, save
from tests.conftest import noise_picture, random_network, run

LARGE = (200, 256)
"""Of a picture that goes from disk to disk where memory is granted, in a dozen tiles."""
TILES = ("--tile", "64", "--memory", "4GB", "--device", "cpu")
WORD = "camixersr: stopping... (Ctrl-C again ends at once)"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save(path, Model("tiny", random_network(channels=8, scale=2, blocks=(1,))))
    return path


def pictures(folder: Path, *sizes: tuple[int, int]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, (height, width) in enumerate(sizes):
        Image.fromarray(noise_picture(height, width, seed=number)).save(folder / f"{number}.png")
    return folder


def lines(journal: Path) -> int:
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def interrupted(arguments: list[str], journal: Path, folder: Path, *, least: int) -> tuple[int, list[str]]:
    """Run a command in a process, send SIGINT once a journal has so many lines; its code and stderr."""
    command = [sys.executable, "-m", "camixersr", *arguments]
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 120
    while lines(journal) < least:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    return process.returncode, said.splitlines()


def goes_on(line: str, folder: Path) -> None:
    """Run the printed command as it is, in a shell."""
    ended = subprocess.run(line, shell=True, cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_a_large_picture_goes_on_to_the_bytes_of_an_unbroken_run(tmp_path: Path, model: Path) -> None:
    pictures(tmp_path, LARGE)
    options = ["--model", str(model), *TILES]
    assert run("upscale", tmp_path / "0.png", "-o", tmp_path / "whole.png", *options) == 0
    (tmp_path / "a result.png").write_text("an older one")
    arguments = ["upscale", "0.png", "-o", "a result.png", *options, "--overwrite"]
    spilled = tmp_path / ".a result.png.camixersr"
    code, said = interrupted(arguments, spilled / "journal", tmp_path, least=4)
    assert code == 130
    assert said[-3:-1] == [WORD, "camixersr: stopped; what was computed is kept; to go on:"]
    assert (tmp_path / "a result.png").read_text() == "an older one", "nothing half-written"
    tiles = lines(spilled / "journal") - 1
    assert tiles >= 3
    assert shlex.split(said[-1])[1:] == ["-m", "camixersr", *arguments, "--resume"]
    goes_on(said[-1] + " --json facts.json", tmp_path)
    assert (tmp_path / "a result.png").read_bytes() == (tmp_path / "whole.png").read_bytes()
    assert json.loads((tmp_path / "facts.json").read_text())["resumed_tiles"] == tiles
    assert not spilled.exists()


def stopped(arguments: list[str], monkeypatch, capsys, journal: Path, *, times: int = 1) -> list[str]:
    """The same in this process: SIGINT once two tiles are recorded; what is said."""
    sent = False

    def show(self: Bars, done: int, total: int) -> None:
        nonlocal sent
        if lines(journal) >= 3 and not sent:
            sent = True
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Bars, "__call__", show)
        patch.setattr(sys, "argv", ["camixersr"])
        assert run(*arguments) == 130
    return capsys.readouterr().err.splitlines()


def goes_on_here(line: str) -> None:
    assert run(*shlex.split(line)[1:]) == 0


def test_a_second_ctrl_c_ends_at_once_and_keeps_what_is_whole(
    tmp_path: Path, model: Path, monkeypatch, capsys
) -> None:
    pictures(tmp_path, LARGE)
    monkeypatch.chdir(tmp_path)
    arguments = ["0.png", "--model", str(model), *TILES]
    journal = Path(".0_x2.png.camixersr/journal")
    said = stopped(arguments, monkeypatch, capsys, journal, times=2)
    assert said[-1].endswith(shlex.join([*arguments, "--resume"]))
    assert journal.exists()
    goes_on_here(said[-1])
    assert not Path(".0_x2.png.camixersr").exists()


@pytest.mark.parametrize("option", [None, "--overwrite", "--skip-existing"])
def test_a_folder_goes_on(tmp_path: Path, model: Path, option: str | None, monkeypatch, capsys) -> None:
    folder = pictures(tmp_path / "in", *[(40, 60)] * 5, LARGE)
    more = ["--model", str(model), *TILES, *([option] if option else [])]
    assert run("upscale", folder, "-o", tmp_path / "whole", *more) == 0
    (tmp_path / "out").mkdir()
    if option:
        (tmp_path / "out" / "4_x2.png").write_bytes((folder / "4.png").read_bytes())  # somebody's
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    journal = Path("out/.5_x2.png.camixersr/journal")
    said = stopped(["upscale", "in", "-o", "out", *more], monkeypatch, capsys, journal)
    assert said[-3] == WORD
    assert said[-2].endswith("of 6 pictures are done, and what was begun is kept; to go on:")
    assert journal.exists()
    goes_on_here(said[-1])
    for path in (tmp_path / "whole").glob("*.png"):
        left = (tmp_path / "out" / path.name).read_bytes()
        if option == "--skip-existing" and path.name == "4_x2.png":
            assert left == (folder / "4.png").read_bytes()
        else:
            assert left == path.read_bytes()
    assert not list((tmp_path / "out").glob(".*"))


@pytest.mark.parametrize("option", [None, "--overwrite"])
def test_files_without_a_folder_go_on(
    tmp_path: Path, model: Path, option: str | None, monkeypatch, capsys
) -> None:
    """Where no record is kept, what exists is skipped, or only the rest is named."""
    pictures(tmp_path, *[(40, 60)] * 4, LARGE)
    monkeypatch.chdir(tmp_path)
    files = [f"{number}.png" for number in range(5)]
    arguments = ["upscale", *files, "--model", str(model), *TILES, *([option] if option else [])]
    said = stopped(arguments, monkeypatch, capsys, Path(".4_x2.png.camixersr/journal"))
    assert " of 5 pictures are done" in said[-2]
    if option is None:
        assert said[-1].endswith(" --resume --skip-existing")
    else:
        assert " 0.png" not in said[-1]
        assert " 4.png" in said[-1]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("[0-2]_x2.png")}
    assert len(before) == 3
    goes_on_here(said[-1])
    assert (tmp_path / "4_x2.png").exists()
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_picture_in_memory_has_nothing_to_keep(tmp_path: Path, model: Path, monkeypatch, capsys) -> None:
    pictures(tmp_path, (40, 40))
    monkeypatch.setattr(Bars, "__call__", lambda self, done, total: signal.raise_signal(signal.SIGINT))
    before = sorted(tmp_path.iterdir())
    handler, awake = signal.getsignal(signal.SIGINT), signal.set_wakeup_fd(-1)
    assert run("upscale", tmp_path / "0.png", "--model", model, "--device", "cpu") == 130
    assert (
        capsys.readouterr().err.splitlines()[-1] == "camixersr: interrupted; nothing was left half-written"
    )
    assert sorted(tmp_path.iterdir()) == before
    assert signal.getsignal(signal.SIGINT) is handler
    assert signal.set_wakeup_fd(awake) == -1, "nobody listens any more"


def test_a_caller_decides_what_is_kept(tmp_path: Path, model: Path) -> None:
    pictures(tmp_path, LARGE)
    options = Options(model=str(model), tile=64, memory="4GB", device="cpu")
    target, spilled = tmp_path / "o.png", tmp_path / ".o.png.camixersr"
    for keep in (False, True):
        with pytest.raises(CancelledError):
            list(
                camixersr.upscale_files(
                    tmp_path / "0.png",
                    target,
                    options=options,
                    keep_begun=keep,
                    cancel=lambda: lines(spilled / "journal") >= 3,
                )
            )
        assert spilled.exists() == keep
    (result,) = camixersr.upscale_files(tmp_path / "0.png", target, options=options, existing="resume")
    assert result.facts["resumed_tiles"] >= 2


def test_the_command_is_the_one_that_was_typed(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(stopping, "typed", ["my photos/", "-o", "out", "--resume"])
    monkeypatch.chdir(tmp_path)
    program = tmp_path / "bin" / "camixersr"
    monkeypatch.setattr(sys, "argv", [str(program)])
    monkeypatch.setattr(stopping.shutil, "which", lambda name: str(program))
    assert (
        stopping.command("--resume", "--skip-existing")
        == "camixersr 'my photos/' -o out --resume --skip-existing"
    )
    monkeypatch.setattr(stopping.shutil, "which", lambda name: None)
    assert stopping.command(without=["-o", "out"]) == "bin/camixersr 'my photos/' --resume"
    with pytest.raises(SystemExit):
        main(["models", "list", "--debug"])
    assert stopping.typed == ["models", "list", "--debug"]


# what is said of the time -------------------------------------------------------------------------------


def test_a_long_job_says_its_size_and_time_before_it_begins(
    tmp_path: Path, model: Path, capsys, monkeypatch
) -> None:
    folder = pictures(tmp_path / "in", *[(40, 60)] * 6, LARGE)
    common = ["upscale", folder, "--model", model, *TILES]
    assert run(*common, "-o", tmp_path / "short") == 0
    assert "about" not in capsys.readouterr().err, "a short one is not worth it"
    monkeypatch.setattr("camixersr.runs.forecast.LONG", 40_000)
    monkeypatch.setattr("camixersr.enlarge.disk.LONG", 40_000)
    assert run(*common, "-o", tmp_path / "long") == 0
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("camixersr: 7 pictures, 0 -> 0 megapixels; about ")
    assert said[0].endswith(" s")
    (large,) = (line for line in said if line.startswith("camixersr: 6.png: 256 x 200 -> 512 x 400"))
    assert " of memory, " in large
    assert "on disk meanwhile; about " in large
    assert (tmp_path / "long" / "6_x2.png").read_bytes() == (tmp_path / "short" / "6_x2.png").read_bytes()
    assert run(*common, "-o", tmp_path / "long", "--resume") == 0
    assert "about" not in capsys.readouterr().err, "nothing is left"
    assert run(*common, "-o", tmp_path / "limited", "--seconds", "1") == 0
    assert "; at most 7 s" in capsys.readouterr().err


def test_the_time_left_settles() -> None:
    """Work whose speed leaps about by four around a mean: from a third on the estimate is close."""
    now = 0.0
    bars = Bars(1, clock=lambda: now)
    steps = [0.5, 2.0] * 100
    bars.begin("a")
    for number, took in enumerate(steps, 1):
        now += took
        bars(number, len(steps))
        left = bars.left
        if number > 60:
            hours, minutes, seconds = (int(each) for each in left.split()[0].split(":"))
            assert abs(3600 * hours + 60 * minutes + seconds - sum(steps[number:])) <= 3.0
    bars(0, 50)  # it is written: another piece of work
    now += 10.0
    bars(25, 50)
    assert bars.left == "0:00:10 left"


def test_the_time_left_of_a_folder_counts_what_is_made() -> None:
    now = 0.0
    bars = Bars(10, clock=lambda: now)
    for _ in range(4):
        bars.finished(made=False)  # there already
    for _ in range(2):
        bars.begin("a")
        now += 30.0
        bars(1, 1)
        bars.finished(made=True)
    assert bars.all_left == "0:02:00 left"
