"""The command itself: no PyAV until a film comes, and one line where there is none."""

import subprocess
import sys
from pathlib import Path

import pytest

from camixersr.enlarge.options import Options
from camixersr.errors import UsageError
from tests.conftest import run
from tests.video.conftest import make_film, scenes


def test_help_loads_no_pyav() -> None:
    code = (
        "import sys\n"
        "from camixersr.cli import main\n"
        "try:\n    main(['video', '--help'])\n"
        "finally:\n    assert not {'av', 'torch'} & set(sys.modules), 'loaded'\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    for option in ("--resume", "--codec", "--attention-ratio", "--tile", "--workers", "--interlaced"):
        assert option in ended.stdout
    for option in ("--subsampling", "--projection", "--routing", "--seconds"):
        assert option not in ended.stdout


def test_without_the_extra_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [each for each in sys.modules if each.split(".")[0] == "av" or "camixersr.video" in each]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "av", None)  # type: ignore[arg-type]
    assert run("video", tmp_path / "film.mkv") == 2
    said = capsys.readouterr().err
    assert "[video]" in said
    assert said.count("\n") == 1


def test_the_result_lies_beside_the_film_by_default(tmp_path: Path, model: Path) -> None:
    source = make_film(tmp_path / "film.mp4", list(scenes(2)), beside=False)
    assert run("video", source, "--model", model) == 0
    assert run("video", source, "--model", model, "--scale", "2") == 0
    assert sorted(each.name for each in tmp_path.iterdir()) == ["film.mp4", "film_x2.mp4", "film_x4.mp4"]


def test_tiles_that_stand_still_are_counted(tmp_path: Path) -> None:
    from camixersr.video.run import Settings, enlarge_film

    still = next(scenes(1, 256, 64))
    moving = [still.copy() for _ in range(4)]
    for number, each in enumerate(moving):
        each[20:30, 8 + number : 16 + number] = 65535
    source = make_film(
        tmp_path / "film.mkv", moving, codec="ffv1", pixel_format="yuv444p10le", aspect=None, beside=False
    )
    for tile in (64, 0):
        done = enlarge_film(
            source,
            tmp_path / f"{tile}.mkv",
            options=Options(tile=tile, scale=2, restore="off"),
            settings=Settings(codec="ffv1"),
        )
        assert (done.reused > 0) == (tile == 64)
        assert done.repeated == 0


def test_options_of_another_kind_are_refused() -> None:
    from camixersr.video.run import Settings

    for wrong in ({"workers": 0}, {"segment": 0.0}, {"start": -1.0}, {"preview": 0.0}):
        with pytest.raises(UsageError, match="got"):
            Settings(**wrong)  # type: ignore[arg-type]
