"""Pictures are found and results named as by `camixersr upscale`, in a folder and in a bucket."""

import io
import json
from pathlib import Path

import pytest
from PIL import Image

from camixersr.errors import ImageError, UsageError
from camixersr.fleet.keys import kept_apart, pictures_in, tasks_for
from camixersr.fleet.places import Bucket, Folder, Place, place_of
from camixersr.fleet.rows import Row
from camixersr.runs.files import upscale_files
from tests.conftest import noise_picture

obstore_store = pytest.importorskip("obstore.store")

NAMES = (
    "a.png", "a.jpg", "sub/b.tiff", "sub/c.HEIC", "sub/.hidden.png", ".dir/d.png", "notes.txt",
    "large/e.png",
)  # fmt: skip


def tasks(place: Place, store, results: Place):
    found = pictures_in(place, store, results, lambda line: None)
    return tasks_for(found, size="x4", template="{stem}_{size}", suffix="")


def test_names_are_those_of_upscale(tmp_path: Path) -> None:
    source, results = tmp_path / "photos", tmp_path / "photos" / "large"
    memory = obstore_store.MemoryStore()
    content = io.BytesIO()
    Image.fromarray(noise_picture(8, 8)).save(content, "png")
    for name in NAMES:  # all are PNG, whatever their names say
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.getvalue())
        Bucket(memory, "").write(name, content.getvalue())
    run = upscale_files(source, results)
    expected = {
        job.found.relative.as_posix(): job.target.relative_to(results).as_posix() for job in run.jobs
    }
    here = place_of("SOURCE", str(source))
    found = tasks(here, Folder(here.folder), place_of("DEST", str(results)))
    assert {each.key: each.result for each in found} == expected
    assert set(expected) == {"a.png", "a.jpg", "sub/b.tiff", "sub/c.HEIC"}
    far = tasks(Place("s3://b"), Bucket(memory, ""), Place("s3://b/large"))
    assert {each.key for each in far} == set(expected)
    assert {each.key: each.result for each in far}["a.jpg"] == "a_x4.jpg"


def test_a_suffix_that_changes_is_kept_from_others() -> None:
    memory = obstore_store.MemoryStore()
    for name in ("a.png", "a.jpg", "b.png"):
        Bucket(memory, "").write(name, b"x")
    found = {each.key: each for each in tasks(Place("s3://b"), Bucket(memory, ""), Place("s3://c"))}
    assert found["a.png"].taken == (".jpg",)
    assert found["a.jpg"].taken == (".png",)
    assert found["b.png"].taken == ()


def test_two_results_of_one_name_are_refused() -> None:
    memory = obstore_store.MemoryStore()
    for name in ("a.png", "a.bmp", "a_bmp.png"):
        Bucket(memory, "").write(name, b"x")
    with pytest.raises(UsageError, match="a_bmp_x4"):
        tasks(Place("s3://b"), Bucket(memory, ""), Place("s3://c"))


def test_a_place_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="found none"):
        tasks(Place("s3://b"), Bucket(obstore_store.MemoryStore(), ""), Place("s3://c"))
    missing = place_of("SOURCE", str(tmp_path / "none"))
    with pytest.raises(ImageError, match="found none"):
        tasks(missing, Folder(missing.folder), Place("s3://c"))


def test_a_link_that_leads_nowhere_is_left_to_its_worker(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "none")
    here = place_of("SOURCE", str(tmp_path))
    (task,) = tasks(here, Folder(tmp_path), place_of("DEST", str(tmp_path / "large")))
    assert (task.key, task.size) == ("a.png", 0)


@pytest.mark.parametrize("far", [False, True])
def test_what_an_earlier_fleet_made_of_pictures_here_is_passed_over(tmp_path: Path, far: bool) -> None:
    here = Place("s3://b") if far else place_of("SOURCE", str(tmp_path))
    store = Bucket(obstore_store.MemoryStore(), "") if far else Folder(tmp_path)
    for name in ("a.png", "x2/a_x2.png", "x2/own.png", "x2/camixersr-fleet/scratch/w-1/in/a.png"):
        store.write(name, b"x")
    row = Row(key="a.png", size=1, version="", options="", status="done", result="a_x2.png")
    store.write("x2/camixersr-fleet/rows/r-00000.jsonl", f"{row.line()}\n".encode())
    store.write("x2/camixersr-fleet/runs/r.json", json.dumps({"source": here.url}).encode())
    said: list[str] = []
    results = Place("s3://elsewhere")
    assert {each.key for each, _ in pictures_in(here, store, results, said.append)} == {
        "a.png",
        "x2/own.png",
    }
    assert said == [f"{here}: 1 results of a fleet from here were passed over"]
    below = Place("s3://b/x2") if far else place_of("SOURCE", str(tmp_path / "x2"))
    inside = Bucket(obstore_store.MemoryStore(), "") if far else Folder(tmp_path / "x2")
    if far:
        for each in list(store.entries("x2/")):
            inside.write(each.key.removeprefix("x2/"), store.read(each.key))
    assert {each.key for each, _ in pictures_in(below, inside, results, print)} == {"a_x2.png", "own.png"}


def test_a_suffix_that_changes_is_kept_from_what_lies_there() -> None:
    memory = obstore_store.MemoryStore()
    for name in ("a.heic", "b.heic"):
        Bucket(memory, "").write(name, b"x")
    found = tasks(Place("s3://b"), Bucket(memory, ""), Place("s3://c"))
    others = {"a_x4.jpg": None, "a_x4.avif": "a.heic", "b_x4.webp": "c.webp", "b_x4.png": "c.png"}
    assert [each.taken for each in kept_apart(found, others)] == [(".jpg",), (".webp",)]
