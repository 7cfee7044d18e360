"""One picture over several workers has the bytes of one machine: workers are calls here, without Ray."""

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from camixersr.enlarge.options import Options
from camixersr.fleet.keys import pictures_in, tasks_for
from camixersr.fleet.ledger import Ledger
from camixersr.fleet.places import Bucket, Folder, Place, Store, place_of
from camixersr.fleet.rows import SHARDS
from camixersr.fleet.shards import Blocks, Far, Shards, Tiles
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
