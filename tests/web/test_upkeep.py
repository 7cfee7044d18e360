"""What the service does by itself: it cleans up, and replaces a process that has gone."""

import asyncio
import time
from pathlib import Path

import pytest

from camixersr.errors import ImageError, OutputError
from camixersr.web.pictures import PictureReader
from camixersr.web.service import Service
from camixersr.web.settings import Settings
from camixersr.web.store import Job
from camixersr.web.views import head
from tests.web.conftest import png


def job(number: int) -> Job:
    return Job(
        id=f"{number:032x}", owner="", key=None, action="upscale", name="a.png", file="input.png",
        sha256="5", bytes=9, options={}, created=1.0,
        picture={"kind": "png", "width": 1, "height": 1, "pages": 1},
    )  # fmt: skip


def test_what_is_old_or_nobodys_is_removed_and_what_ran_waits_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> Service:
        service = Service(Settings(data=tmp_path, keep=1.0))
        monkeypatch.setattr(service.dispatcher, "start", lambda: None)
        for number in range(4):
            service.store.add(job(number))
            (service.jobs / job(number).id).mkdir()
            if number < 3:
                service.store.claim()
        service.store.finish(job(0).id, "done", outcome={})
        with monkeypatch.context() as past:
            past.setattr(time, "time", lambda: 1000.0)
            service.store.finish(job(1).id, "failed", error="long ago")
        (service.jobs / "orphan").mkdir()
        (service.incoming / "half").write_bytes(b"half an upload")
        await service.start()
        await asyncio.sleep(0.3)
        found = {each.id: each.state for each in service.store.all_of("")}
        assert found == {job(0).id: "done", job(2).id: "queued", job(3).id: "queued"}
        assert {each.name for each in service.jobs.iterdir()} == found.keys()
        assert list(service.incoming.iterdir()) == []
        with pytest.raises(OutputError, match="another service"):
            Service(Settings(data=tmp_path))
        await service.stop()
        return service

    asyncio.run(run())


def test_the_process_that_reads_heads_is_replaced_when_it_is_killed(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    expected = {"kind": "png", "width": 96, "height": 64, "pages": 1}

    async def run() -> None:
        pictures = PictureReader()
        try:
            assert await pictures.ask(head, tmp_path / "a.png", max_pixels=10_000) == expected
            pictures._process.kill()
            pictures._process.join()
            with pytest.raises(ImageError):  # whoever asks just now
                await pictures.ask(head, tmp_path / "a.png", max_pixels=10_000)
            assert await pictures.ask(head, tmp_path / "a.png", max_pixels=10_000) == expected
        finally:
            pictures.close()

    asyncio.run(run())


def test_a_picture_that_hangs_its_reader_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("camixersr.web.pictures.PATIENCE", 0.05)  # less than the process takes to begin
    (tmp_path / "a.png").write_bytes(png())

    async def run() -> None:
        pictures = PictureReader()
        try:
            with pytest.raises(ImageError, match="too long"):
                await pictures.ask(head, tmp_path / "a.png", max_pixels=10_000)
            assert not pictures._process.is_alive() or pictures._line is None
        finally:
            pictures.close()

    asyncio.run(run())
