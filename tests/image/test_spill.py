import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

from camixersr.errors import OutputError, UsageError
from camixersr.image.raw import Layout, Raw
from camixersr.image.spill import Spill, digest, folder_for

JOB = {"source": "abc", "model": "s-x4", "max share": 0.5}


def interrupted(folder: Path, lines: int) -> None:
    """A job that was killed after some tiles."""
    with suppress(KeyboardInterrupt), Spill(folder, JOB, resume=True) as spill:
        spill.settle({"tile": 64})
        for number in range(lines):
            spill.record({"tile": number})
        raise KeyboardInterrupt


def test_a_job_that_ends_well_leaves_nothing(tmp_path: Path) -> None:
    folder = folder_for(tmp_path / "o.png", None)
    for resume in (False, True):
        with Spill(folder, JOB, resume=resume) as spill:
            assert spill.done == []
            assert spill.settled == {}
            spill.settle({"tile": 64})
            spill.record({"tile": 0})
            assert folder.is_dir()
        assert list(tmp_path.iterdir()) == []


def test_a_job_that_fails_leaves_nothing_unless_it_may_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Spill(tmp_path / "s", JOB, resume=False):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    interrupted(tmp_path / "s", 3)
    with Spill(tmp_path / "s", JOB, resume=True) as spill:
        assert spill.settled == {"tile": 64}
        assert spill.done == [{"tile": 0}, {"tile": 1}, {"tile": 2}]


def test_every_cut_of_the_journal_is_a_shorter_journal(tmp_path: Path) -> None:
    interrupted(tmp_path / "s", 3)
    journal = tmp_path / "s" / "journal"
    content = journal.read_bytes()
    for length in range(len(content) + 1):
        journal.write_bytes(content[:length])
        whole = content[:length].count(b"\n")
        with suppress(KeyboardInterrupt), Spill(tmp_path / "s", JOB, resume=True) as spill:
            assert len(spill.done) == max(0, whole - 1)
            assert bool(spill.settled) == (whole > 0)
            if not spill.settled:
                spill.settle({"tile": 64})
            spill.record({"tile": 9})
            raise KeyboardInterrupt
        lines = [json.loads(line) for line in journal.read_text().splitlines()]
        assert lines[0] == {"job": JOB, "settled": {"tile": 64}}
        assert lines[-1] == {"tile": 9}
        assert len(lines) == max(whole, 1) + 1


def test_another_job_is_refused_and_named(tmp_path: Path) -> None:
    interrupted(tmp_path / "s", 1)
    with pytest.raises(UsageError, match="another source, max share; repeat"):
        Spill(tmp_path / "s", JOB | {"source": "def", "max share": 1.0}, resume=True)
    with Spill(tmp_path / "s", JOB | {"source": "def"}, resume=False) as spill:
        assert spill.done == []


def test_two_processes_do_not_share_a_job(tmp_path: Path) -> None:
    with Spill(tmp_path / "s", JOB, resume=False), pytest.raises(OutputError, match="another process"):
        Spill(tmp_path / "s", JOB, resume=False)


def test_a_folder_that_cannot_be_made_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be made"):
        Spill(tmp_path / "no" / "s", JOB, resume=False)


def test_folders_of_different_targets_differ(tmp_path: Path) -> None:
    assert folder_for(tmp_path / "o.png", None) == tmp_path / ".o.png.camixersr"
    one, two = (folder_for(tmp_path / place / "o.png", tmp_path) for place in ("a", "b"))
    assert one.parent == two.parent == tmp_path
    assert one != two


def test_a_digest_is_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert digest(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    """The folder's name can be guessed: in a shared folder somebody may have put a link there."""
    victim = tmp_path / "home"
    victim.mkdir()
    (tmp_path / "s").symlink_to(victim)
    with pytest.raises(OutputError, match="link or a file"), Spill(tmp_path / "s", JOB, resume=False):
        pass
    assert list(victim.iterdir()) == []
    (tmp_path / "s").unlink()
    (victim / "letters").write_text("dear")
    for name in ("journal", "low.raw"):
        folder = tmp_path / "t"
        folder.mkdir()
        (folder / name).symlink_to(victim / "letters")
        with pytest.raises(OutputError), Spill(folder, JOB, resume=False) as spill:
            Raw(spill.folder / "low.raw", Layout(2, 2, 3, "uint8"), create=True)
        assert (victim / "letters").read_text() == "dear"
        shutil.rmtree(folder, ignore_errors=True)


def test_the_folder_is_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    with Spill(folder, JOB, resume=False):
        assert folder.stat().st_mode & 0o777 == 0o700
    with Spill(folder, JOB, resume=False):
        assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to give a folder away")
def test_another_users_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    os.chown(tmp_path / "s", 12345, 12345)
    with pytest.raises(OutputError, match="another user"), Spill(tmp_path / "s", JOB, resume=False):
        pass


def test_the_folder_of_a_long_name_can_be_made(tmp_path: Path) -> None:
    target = tmp_path / f"{'n' * 250}.png"
    for spill in (None, tmp_path):
        with Spill(folder_for(target, spill), JOB, resume=False) as made:
            assert made.folder.is_dir()
