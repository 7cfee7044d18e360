"""What Windows and macOS lack is hidden here, and everything that asks for it goes on."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from camixersr import processes
from camixersr.backends import devices
from camixersr.errors import OutputError
from camixersr.image import spill
from camixersr.image.locks import FAR, hold
from camixersr.inference.shared import Shared
from camixersr.runs.manifest import Manifest
from camixersr.speed import machine
from camixersr.web import folders


def hide(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture
def windows_locks(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[int, int], int]:
    """The locks of a `msvcrt` that behaves as Microsoft's: whoever has a byte has it alone."""
    held: dict[tuple[int, int], int] = {}

    def locking(descriptor: int, mode: int, count: int) -> None:
        assert (mode, count) == (2, 1)
        there = os.fstat(descriptor)
        place = os.lseek(descriptor, 0, os.SEEK_CUR)
        assert place >= there.st_size, "a byte of the content could not be written any more"
        key = (there.st_ino, place)
        if key in held and held[key] != descriptor:
            raise PermissionError(13, "Permission denied")
        held[key] = descriptor

    module: Any = ModuleType("msvcrt")
    module.locking, module.LK_NBLCK = locking, 2
    hide(monkeypatch, "fcntl")
    monkeypatch.setitem(sys.modules, "msvcrt", module)
    return held


@pytest.mark.usefixtures("windows_locks")
def test_windows_holds_a_byte_far_behind_the_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    with path.open("rb+") as one, path.open("rb+") as other:
        one.seek(3)
        hold(one.fileno())
        assert one.tell() == 3
        hold(one.fileno())
        hold(other.fileno(), shared=True, wait=True)  # there are none: it goes on
        with pytest.raises(BlockingIOError):
            hold(other.fileno())
    assert FAR > 2**20


Started = Callable[[Path], Any]


def start_run(folder: Path) -> Any:
    return Manifest(folder / "manifest.jsonl")


def start_huge(folder: Path) -> Any:
    return spill.Spill(folder / "job", {"a": 1}, resume=True)


@pytest.mark.parametrize("start", [start_run, start_huge])
@pytest.mark.parametrize("locks", ["fcntl", "msvcrt", "none"])
def test_two_jobs_in_one_place(start: Started, locks: str, tmp_path: Path, monkeypatch, request) -> None:
    if locks == "msvcrt":
        request.getfixturevalue("windows_locks")
    elif locks == "none":
        hide(monkeypatch, "fcntl", "msvcrt")
    begun = [start(tmp_path)]
    if locks == "none":
        begun.append(start(tmp_path))  # nothing can be held: it goes on
    else:
        with pytest.raises(OutputError, match="another"):
            start(tmp_path)
    for each in begun:
        each.close() if isinstance(each, Manifest) else each.__exit__(None)


@pytest.mark.parametrize("locks", ["fcntl", "msvcrt", "none"])
def test_two_services_in_one_folder(locks: str, tmp_path: Path, monkeypatch, request) -> None:
    if locks == "msvcrt":
        request.getfixturevalue("windows_locks")
    elif locks == "none":
        hide(monkeypatch, "fcntl", "msvcrt")
    held = folders.locked(tmp_path / "lock")
    folders.wait_for_others(tmp_path / "workers.lock")
    if locks == "none":
        os.close(folders.locked(tmp_path / "lock"))
    else:
        with pytest.raises(OutputError, match="another service"):
            folders.locked(tmp_path / "lock")
    os.close(held)


def test_a_folder_goes_where_open_files_stay(tmp_path: Path, monkeypatch) -> None:
    closed: list[int] = []
    close, remove = os.close, spill.shutil.rmtree

    def rmtree(folder: Path) -> None:
        assert closed, "Windows removes no open file"
        remove(folder)

    monkeypatch.setattr(spill, "OPEN_FILES_STAY", True)
    monkeypatch.setattr(spill.shutil, "rmtree", rmtree)
    monkeypatch.setattr(os, "close", lambda descriptor: (closed.append(descriptor), close(descriptor)))
    with spill.Spill(tmp_path / "job", {"a": 1}, resume=False) as job:
        job.settle({})
        closed.clear()
    assert not (tmp_path / "job").exists()


def test_memory_for_several_processes_is_a_file_that_goes(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Shared.of(np.ones((2, 3), np.float32)) as there:
        assert len(list(tmp_path.iterdir())) == 1
        function, arguments = there.__reduce__()
        assert function(*arguments).array.sum() == 6
    assert list(tmp_path.iterdir()) == []
    assert there.array.sum() == 6


def test_a_mapped_file_goes_when_it_is_no_longer_mapped(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    unlink, mapped = Path.unlink, True

    def windows(path: Path, missing_ok: bool = False) -> None:
        if mapped:
            raise PermissionError(13, "The process cannot access the file")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", windows)
    with Shared((4,)) as there:
        pass
    assert len(list(tmp_path.iterdir())) == 1
    mapped = False
    del there
    assert list(tmp_path.iterdir()) == []


def test_a_process_starts_without_masks_of_signals(monkeypatch) -> None:
    monkeypatch.delattr(signal, "pthread_sigmask", raising=False)
    begun = []
    with processes._spared():
        begun.append(True)
    assert begun == [True]


def test_memory_and_processor_where_there_is_no_proc(monkeypatch) -> None:
    def missing(*_: object, **__: object) -> str:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(Path, "read_text", missing)
    assert devices.resident_memory("cpu") == 0
    assert (devices.peak_memory("cpu") or 0) > 2**20  # of `resource`, as on macOS
    hide(monkeypatch, "resource")
    assert devices.peak_memory("cpu") is None
    assert machine.available_memory(torch.device("cpu")) is None
    monkeypatch.delattr(os, "sysconf", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert machine._memory() is None
    assert machine._cores() == os.cpu_count()
    monkeypatch.setattr(sys, "platform", "win32")
    assert machine._cpu()[0]
    devices.reset_peak_memory("cpu")


def test_the_native_core_stays_out(monkeypatch) -> None:
    from camixersr.native import build

    monkeypatch.setattr(sys, "platform", "darwin")
    assert "Linux" in build.why_not()


def test_the_command_line_ends_well_without_hangups(monkeypatch) -> None:
    from camixersr import cli

    monkeypatch.delattr(signal, "SIGHUP", raising=False)
    before = signal.getsignal(signal.SIGTERM)
    with cli._ending_well():
        assert signal.getsignal(signal.SIGTERM) is cli._terminate
    assert signal.getsignal(signal.SIGTERM) is before
