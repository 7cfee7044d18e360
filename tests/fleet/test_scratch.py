"""What a dead process left goes; what a living one uses stays."""

import os
from pathlib import Path

import pytest

from camixersr.errors import OutputError
from camixersr.fleet.scratch import LOCK, Scratch, private, sweep


def test_the_living_stay_and_the_dead_go(tmp_path: Path) -> None:
    root = tmp_path / "scratch"
    with Scratch(root) as living:
        dead = root / "w-dead"
        dead.mkdir()
        (dead / LOCK).touch()  # held by nobody
        (dead / "picture.png").write_bytes(b"x")
        other = root / "large-0"  # of another kind
        other.mkdir()
        with living.room() as room:
            (room / "picture.png").write_bytes(b"x")
            sweep(root)
            assert (room / "picture.png").exists()
        assert not room.exists()
        assert not dead.exists()
        assert other.exists()
    assert not living.folder.exists()
    other.rmdir()
    with Scratch(root):
        pass
    assert not root.exists(), "an empty one is removed with the last"


def test_one_whose_maker_was_killed_before_it_held_it_goes_after_a_while(tmp_path: Path) -> None:
    for name in ("w-young", "w-old"):
        (tmp_path / name).mkdir()
    (tmp_path / "w-old" / f"{LOCK}-soon").touch()
    os.utime(tmp_path / "w-old", (1.0, 1.0))
    sweep(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["w-young"]


def test_what_is_kept_stays(tmp_path: Path) -> None:
    for name in ("large-a", "large-b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / LOCK).touch()
    sweep(tmp_path, "large-", keep={"large-a"})
    assert [each.name for each in tmp_path.iterdir()] == ["large-a"]


def test_a_folder_of_the_system_is_not_removed(tmp_path: Path) -> None:
    Scratch(tmp_path, "camixersr-ray-", keep_root=True).close()
    assert tmp_path.is_dir()
    assert not list(tmp_path.iterdir())


def test_what_others_could_have_put_there_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="of this user's"):
        private(tmp_path / "root")
    private(tmp_path / "own")
    assert (tmp_path / "own").stat().st_mode & 0o777 == 0o700
