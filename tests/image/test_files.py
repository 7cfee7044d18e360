import os
from pathlib import Path

import pytest

from camixersr.errors import OutputError
from camixersr.image.files import open_regular, replacing, require_writable
from camixersr.runs.manifest import Manifest


def test_the_file_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with replacing(target) as partial:
        assert partial.suffix == ".txt"
        assert partial.parent == tmp_path
        partial.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_failure_leaves_everything_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def interrupted() -> None:
        with replacing(target) as partial:
            partial.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_new_files_have_ordinary_permissions(tmp_path: Path) -> None:
    with replacing(tmp_path / "a") as partial:
        partial.write_text("x")
    (tmp_path / "b").write_text("x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


@pytest.mark.parametrize("check", [require_writable, lambda path: replacing(path).__enter__()])
def test_impossible_targets_are_named(tmp_path: Path, check) -> None:
    with pytest.raises(OutputError, match="missing"):
        check(tmp_path / "missing" / "a.png")
    with pytest.raises(OutputError, match="folder"):
        check(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"a\.png"):
        check(tmp_path / "file" / "a.png")
    with pytest.raises(OutputError, match="name too long"):
        check(tmp_path / f"{'n' * 252}.png")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError, match="device or a pipe"):
        check(tmp_path / "pipe")
    assert sorted(os.listdir(tmp_path)) == ["file", "pipe"]


def test_asking_leaves_nothing_behind(tmp_path: Path) -> None:
    require_writable(tmp_path / "a.png")
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_said_whatever_was_written(tmp_path: Path) -> None:
    def overfull() -> None:
        with replacing(tmp_path / "facts.json"), open("/dev/full", "w") as file:
            file.write("x" * 100_000)

    with pytest.raises(OutputError, match=r"facts\.json: cannot be written: No space left on device"):
        overfull()
    assert os.listdir(tmp_path) == []


def test_only_regular_files_are_opened_and_nothing_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    for name in ("file", "link"):
        with open_regular(tmp_path / name) as file:
            assert file.read() == b"text"
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to a device").symlink_to("/dev/zero")
    for name in ("pipe", "to a device"):
        with pytest.raises(OSError, match="pipe or a device"):
            open_regular(tmp_path / name)
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "gone")


def test_a_manifest_on_a_full_disk_is_one_line(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path / "camixersr.jsonl")
    manifest._file.close()
    manifest._file = Path("/dev/full").open("ab")  # noqa: SIM115
    with pytest.raises(OutputError, match=r"camixersr\.jsonl: cannot be written: No space left"):
        manifest.note(tmp_path / "a.png", Path("a.png"), tmp_path / "b.png", result="begun")
    manifest.close()
    assert manifest._file.closed
