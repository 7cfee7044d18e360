"""Pictures are found and results named as by `camixersr upscale`, in a folder and in a bucket."""

import io
from pathlib import Path

import pytest
from PIL import Image

from camixersr.errors import ImageError, UsageError
from camixersr.fleet.keys import pictures_in, tasks_for
from camixersr.fleet.places import Bucket, Folder, Place, place_of
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
