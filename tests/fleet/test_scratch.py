"""What a dead process left goes; what a living one uses stays."""

from pathlib import Path

from camixersr.fleet.scratch import LOCK, Scratch, sweep


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
