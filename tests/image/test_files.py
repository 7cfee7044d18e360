import os
from pathlib import Path

import pytest

from camixersr.errors import OutputError
from camixersr.image.files import replacing, require_writable


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


def test_asking_leaves_nothing_behind(tmp_path: Path) -> None:
    require_writable(tmp_path / "a.png")
    assert os.listdir(tmp_path) == []
