"""One picture over several workers has the bytes of one machine: workers are calls here, without Ray."""

import json
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from camixersr.enlarge.options import Options
from camixersr.fleet.keys import pictures_in, tasks_for
from camixersr.fleet.ledger import Ledger
from camixersr.fleet.places import Bucket, Folder, Place, Store, place_of
from camixersr.fleet.rows import SHARDS, Task
from camixersr.fleet.scratch import LOCK
from camixersr.fleet.shards import Shards, clear
from camixersr.fleet.tiles import Blocks, Far, Tiles
from camixersr.fleet.work import Orders
from camixersr.image.picture import MAX_PIXELS
from camixersr.image.raw import Layout
from camixersr.runs.files import upscale_files
from camixersr.runs.models import Models
from tests.conftest import noise_picture

obstore_store = pytest.importorskip("obstore.store")


class Calls:
    """A cluster without Ray: batches are computed last first, and one twice, as after a death."""

    workers = 2

    def __init__(self, store: Store) -> None:
        self.store, self.batches = store, 0

    def mapped(self, rows, actor, given) -> Generator[dict[str, Any]]:
        worker = Tiles(*given, self.store)
        self.batches += len(rows)
        worker(rows[0])
        for row in reversed(rows):
            yield worker(row)


def test_windows_of_a_raw_picture_are_read_and_written(tmp_path: Path) -> None:
    pixels = noise_picture(20, 30)
    for store in (Folder(tmp_path), Bucket(obstore_store.MemoryStore(), "memory://")):
        store.write("low.raw", pixels.tobytes())
        far = Far(store, "low.raw", Layout(20, 30, 3, "uint8"))
        assert np.array_equal(far.read(slice(3, 9), slice(4, 25)), pixels[3:9, 4:25])
        assert np.array_equal(far.read(slice(0, 20), slice(0, 30)), pixels)
        blocks = Blocks(store, "p/", Layout(20, 30, 3, "uint8"))
        blocks.write(8, 16, pixels[8:12, 16:30])
        ((key, *place),) = blocks.written
        assert place == [8, 16, 4, 14]
        assert store.read(key) == pixels[8:12, 16:30].tobytes()


@pytest.mark.parametrize(
    ("far", "mode", "options"),
    [
        (False, "RGB", Options(tile=64, scale=2)),
        (True, "RGBA", Options(tile=64, scale=2, alpha="bicubic", format="tiff")),
        (False, "RGB", Options(tile=128, scale=2, routing="top-share", restore="on")),
        (True, "RGB", Options(tile=64, model="s-360-x2", projection="erp", max_share=0.3, format="tiff")),
    ],
)
def test_the_bytes_are_those_of_one_machine(tmp_path: Path, far: bool, mode: str, options: Options) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    size = (192, 128) if options.projection != "erp" else (256, 128)
    image = Image.fromarray(noise_picture(8, 12)).resize(size, Image.Resampling.BICUBIC)
    if mode == "RGBA":
        image.putalpha(image.convert("L"))
    image.save(folder / "p.png")
    options = replace(options, memory="8GB")  # so that this small one goes from disk to disk, too
    (alone,) = upscale_files(folder, tmp_path / "alone", options=options)
    assert alone.error is None

    source: Store = Folder(folder)
    results: Store = Folder(tmp_path / "results")
    places = place_of("S", str(folder)), place_of("D", str(tmp_path / "results"))
    if far:
        source, results = (Bucket(obstore_store.MemoryStore(), "memory://") for _ in range(2))
        source.write("p.png", (folder / "p.png").read_bytes())
        places = Place("s3://a"), Place("s3://b")
    record = Models(options, restoring=False, say=print).record()
    orders = Orders(
        source=places[0],
        results=places[1],
        options=options,
        digest="d",
        models=record["model"],
        scratch=tmp_path,
        max_pixels=MAX_PIXELS,
        shard_above=0,
        threads=None,
    )
    ledger = Ledger(places[1], "run", "d", 0, results)
    cluster: Any = Calls(results)
    said: list[str] = []
    shards = Shards(orders, cluster, ledger, results, said.append, source)  # type: ignore[arg-type]
    (task,) = tasks_for(
        pictures_in(places[0], source, places[1], print),
        size=options.size.label(4),
        template="{stem}_{size}",
        suffix=options.suffix,
    )
    shards.do(task, check=lambda: False)
    ledger.close()
    assert ledger.state().done == 1, ledger.failures()
    assert cluster.batches > 2
    assert results.read(task.result) == alone.target.read_bytes()
    assert not list(results.entries(SHARDS)), "blocks are gone"
    assert not list(tmp_path.glob("camixersr-fleet/large-*"))
    assert said


@dataclass
class Large:
    """A picture in a folder that is shared, run by run.

    Attributes:
        task: it.
        orders: of its runs.
        results: where it goes.
        expected: bytes of its result.
    """

    task: Task
    orders: Orders
    results: Folder
    expected: bytes

    def run(self, cluster: Any, *, stop: Callable[[], bool] = lambda: False, retries: int = 0) -> Ledger:
        """One run; its ledger afterwards."""
        name = f"run-{len(list(self.results.entries()))}"
        ledger = Ledger(self.orders.results, name, "d", retries, self.results)
        try:
            kept: Any = ledger
            Shards(self.orders, cluster, kept, self.results, print).do(self.task, check=stop)
        finally:
            ledger.close()
        return ledger

    def left(self) -> list[str]:
        """What lies there but for the table."""
        files = [path.relative_to(self.results.root) for path in self.results.root.rglob("*")]
        own = [each for each in files if each.parts[0] == "camixersr-fleet" and len(each.parts) > 1]
        return sorted(str(each) for each in own if each.parts[1] not in ("rows", ".rows"))


SHARED = Options(tile=64, batch=1, scale=2, attention_ratio=0.0, memory="8GB")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A folder with a picture of three tiles, and its result by `upscale`."""
    folder = tmp_path_factory.mktemp("photos")
    image = Image.fromarray(noise_picture(8, 12)).resize((192, 64), Image.Resampling.BICUBIC)
    image.save(folder / "p.png")
    (made,) = upscale_files(folder, tmp_path_factory.mktemp("alone"), options=SHARED)
    return folder, made.target.read_bytes()


@pytest.fixture
def large(tmp_path: Path, alone: tuple[Path, bytes]) -> Large:
    folder, expected = alone
    places = place_of("S", str(folder)), place_of("D", str(tmp_path / "results"))
    orders = Orders(
        source=places[0],
        results=places[1],
        options=SHARED,
        digest="d",
        models={},
        scratch=None,
        max_pixels=MAX_PIXELS,
        shard_above=0,
        threads=None,
    )
    found = pictures_in(places[0], Folder(folder), places[1], print)
    (task,) = tasks_for(found, size="x2", template="{stem}_{size}", suffix="")
    return Large(task, orders, Folder(tmp_path / "results"), expected)


class Interrupted(Calls):
    """Ends, as the process would, after some batches."""

    def __init__(self, store: Store, after: int) -> None:
        super().__init__(store)
        self.after = after

    def mapped(self, rows, actor, given) -> Generator[dict[str, Any]]:
        worker = Tiles(*given, self.store)
        for row in rows[: self.after]:
            yield worker(row)
        worker(rows[self.after])  # its block waits for a driver
        raise KeyboardInterrupt


def test_a_shared_picture_goes_on_where_a_run_ended(large: Large) -> None:
    with pytest.raises(KeyboardInterrupt):
        large.run(Interrupted(large.results, 1))
    (shard,) = (large.results.root / SHARDS).iterdir()
    (shard / ".camixersr-half").write_bytes(b"a block of a killed worker")
    root = large.results.root / "camixersr-fleet" / "scratch"
    places = large.orders.source, large.orders.results
    clear(large.results, root, *places, "d", [large.task])
    assert shard.is_dir(), "somebody goes on with it"
    cluster = Calls(large.results)
    assert large.run(cluster).state().done == 1
    assert cluster.batches == 2, "of three"
    assert large.results.read(large.task.result) == large.expected
    assert large.left() == ["camixersr-fleet/scratch"]


def test_what_was_kept_of_a_picture_goes_when_it_or_the_options_changed(large: Large) -> None:
    with pytest.raises(KeyboardInterrupt):
        large.run(Interrupted(large.results, 1))
    root = large.results.root / "camixersr-fleet" / "scratch"
    other = root / f"large-00000000-{large.task.key}"
    other.mkdir()
    (other / LOCK).touch()  # of another place
    clear(large.results, root, large.orders.source, large.orders.results, "other options", [large.task])
    name = f"camixersr-fleet/scratch/{other.name}"
    assert large.left() == ["camixersr-fleet/scratch", name, f"{name}/{LOCK}"]


def test_a_result_that_is_whole_is_not_computed_again(large: Large, monkeypatch) -> None:
    def fail(self: Folder, path: Path, key: str) -> None:
        if key == large.task.result:
            raise KeyboardInterrupt
        deliver(self, path, key)

    deliver = Folder.deliver
    with monkeypatch.context() as patched:
        patched.setattr(Folder, "deliver", fail)
        with pytest.raises(KeyboardInterrupt):
            large.run(Calls(large.results))
    cluster = Calls(large.results)
    assert large.run(cluster).state().done == 1
    assert cluster.batches == 0
    assert large.results.read(large.task.result) == large.expected
    assert large.left() == ["camixersr-fleet/scratch"]


def test_what_does_not_fit_any_more_is_computed_anew(large: Large) -> None:
    with pytest.raises(KeyboardInterrupt):
        large.run(Interrupted(large.results, 1))
    (journal,) = large.results.root.glob("camixersr-fleet/scratch/large-*/.*/journal")
    first, *others = journal.read_text().splitlines()
    job = json.loads(first)
    job["job"]["torch"] = "0.1"
    journal.write_text("".join(f"{line}\n" for line in (json.dumps(job), *others)))
    cluster = Calls(large.results)
    assert large.run(cluster).state().done == 1
    assert cluster.batches == 3
    assert large.results.read(large.task.result) == large.expected
