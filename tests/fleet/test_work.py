"""A worker's step is that of `camixersr upscale`: the same bytes, from folders and from buckets."""

import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from camixersr.enlarge.options import Options
from camixersr.errors import DeviceError
from camixersr.fleet.keys import pictures_in, tasks_for
from camixersr.fleet.ledger import Ledger
from camixersr.fleet.places import Bucket, Folder, Place, place_of
from camixersr.fleet.rows import Row, rows_in
from camixersr.fleet.work import Orders, Worker
from camixersr.image.picture import MAX_PIXELS
from camixersr.runs.files import upscale_files
from camixersr.runs.models import Models
from tests.conftest import noise_picture

obstore_store = pytest.importorskip("obstore.store")

OPTIONS = Options(attention_ratio=0.3)


def orders_for(source: Place, results: Place, tmp_path: Path) -> Orders:
    record = Models(OPTIONS, restoring=False, say=print).record()
    return Orders(
        source=source,
        results=results,
        options=OPTIONS,
        digest=hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest(),
        models=record["model"],
        scratch=tmp_path,
        max_pixels=MAX_PIXELS,
        shard_above=None,
        threads=None,
    )


def done_by_a_worker(orders: Orders, source, results, retries: int = 1) -> dict[str, Row]:
    ledger = Ledger(orders.results, "run", orders.digest, retries, results)
    worker = Worker(orders, ledger, source, results)
    found = pictures_in(orders.source, source, orders.results, lambda line: None)
    for task in tasks_for(found, size="x4", template="{stem}_{size}", suffix=""):
        status = worker.do(task)
        assert status in ("done", "failed")
        assert worker.do(task) == "left"
    worker.close()
    ledger.close()
    return {row.key: row for row in rows_in(results)}


@pytest.mark.parametrize("far", [False, True])
def test_results_are_those_of_upscale(tmp_path: Path, pictures, far: bool) -> None:
    folder, alone = tmp_path / "photos", tmp_path / "alone"
    bad = pictures(folder, 7, (40, 24), corrupt=1)
    statuses = {
        each.source.relative_to(folder).as_posix(): each
        for each in upscale_files(folder, alone, options=OPTIONS)
    }
    source, results = Folder(folder), Folder(tmp_path / "results")
    orders = orders_for(place_of("S", str(folder)), place_of("D", str(results.root)), tmp_path)
    if far:
        source, results = (Bucket(obstore_store.MemoryStore(), "memory://") for _ in range(2))
        for path in folder.rglob("*.*"):
            source.write(path.relative_to(folder).as_posix(), path.read_bytes())
        orders = replace(orders, source=Place("s3://a"), results=Place("s3://b"))
    rows = done_by_a_worker(orders, source, results)
    assert {key for key, each in statuses.items() if each.status == "failed"} == set(bad)
    assert rows.keys() == statuses.keys()
    for key, result in statuses.items():
        row = rows[key]
        assert row.status == result.status
        if row.status == "failed":
            assert row.attempt == 2
            assert "damaged" in row.error
            assert str(tmp_path) not in row.error
            assert row.result == ""
            continue
        content = result.target.read_bytes()
        assert row.result == result.target.relative_to(alone).as_posix()
        assert results.read(row.result) == content
        assert (row.result_bytes, row.sha256) == (len(content), hashlib.sha256(content).hexdigest())
        assert list(row.low_size) == result.facts["low_size"]
        assert row.megapixels == pytest.approx(16 * 40 * 24 / 1e6)
        assert row.model == "s-x4"
        assert len(row.model_sha256) == 64
    left = [path for path in tmp_path.rglob("*") if path.is_file() and "camixersr-fleet" in path.parts]
    assert not [path for path in left if not {"rows", ".rows"} & {*path.parts}], "nothing under way is left"


def test_a_picture_that_changed_meanwhile_fails(tmp_path: Path, pictures) -> None:
    pictures(tmp_path / "photos", 1, (8, 8), corrupt=0)
    source, results = (Bucket(obstore_store.MemoryStore(), "memory://") for _ in range(2))
    source.write("a.png", b"short")
    orders = orders_for(Place("s3://a"), Place("s3://b"), tmp_path)
    ledger = Ledger(orders.results, "run", orders.digest, 0, results)
    worker = Worker(orders, ledger, source, results)
    (task,) = tasks_for(
        pictures_in(Place("s3://a"), source, Place("s3://b"), print),
        size="x4",
        template="{stem}_{size}",
        suffix="",
    )
    assert worker.do(replace(task, size=99)) == "failed"
    assert "expected 99 bytes, got 5" in ledger.failures()[0].error
    worker.close()
    ledger.close()


def test_two_pictures_whose_formats_turn_out_the_same_do_not_share_a_result(tmp_path: Path) -> None:
    content = io.BytesIO()
    Image.fromarray(noise_picture(8, 8)).save(content, "png")
    source, results = (Bucket(obstore_store.MemoryStore(), "memory://") for _ in range(2))
    for name in ("b.webp", "b.tif"):
        source.write(name, content.getvalue())
    rows = done_by_a_worker(orders_for(Place("s3://a"), Place("s3://b"), tmp_path), source, results)
    assert sorted(row.status for row in rows.values()) == ["done", "failed"]
    (failed,) = (row for row in rows.values() if row.status == "failed")
    assert failed.error.startswith("b_x4.png: another picture's result goes there")


def test_a_worker_of_another_version_does_nothing(tmp_path: Path) -> None:
    orders = replace(orders_for(Place("s3://a"), Place("s3://b"), tmp_path), digest="of another version")
    store = Bucket(obstore_store.MemoryStore(), "memory://")
    ledger = Ledger(orders.results, "run", orders.digest, 0, store)
    with pytest.raises(DeviceError, match="install the same camixersr"):
        Worker(orders, ledger, store, store)
    ledger.close()
