"""A folder and an object store are one thing behind one protocol."""

import errno
import os
from pathlib import Path

import pytest

from camixersr.errors import DownloadError, OutputError, UsageError
from camixersr.fleet.places import PART, Bucket, Folder, Place, Store, place_of
from camixersr.image.files import replacing

obstore_store = pytest.importorskip("obstore.store")


@pytest.fixture(params=["folder", "memory"])
def store(request, tmp_path: Path) -> Store:
    if request.param == "folder":
        return Folder(tmp_path / "place")
    return Bucket(obstore_store.MemoryStore(), "memory://")


def test_what_is_written_is_there(store: Store, tmp_path: Path) -> None:
    store.write("a/b c.png", b"0123456789")
    store.write("a/b c.png", b"abcdefghij")
    store.write(".hidden/x", b"?")
    store.write("d.png", b"")
    assert store.read("a/b c.png") == b"abcdefghij"
    assert store.ranges("a/b c.png", [(0, 2), (5, 6), (2, 5)]) == [b"ab", b"f", b"cde"]
    entries = {each.key: each for each in store.entries()}
    assert {key: each.size for key, each in entries.items()} == {"a/b c.png": 10, "d.png": 0}
    assert [each.key for each in store.entries("a/")] == ["a/b c.png"]
    before = entries["a/b c.png"].version
    store.write("a/b c.png", b"other")
    assert next(store.entries("a/")).version != before
    store.fetch("a/b c.png", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"other"
    store.remove(["a/b c.png", "never there"])
    assert [each.key for each in store.entries()] == ["d.png"]


def test_a_file_is_delivered_whole_also_in_parts(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "result"
    content = os.urandom(1000) * (PART // 500)
    file.write_bytes(content)
    store.deliver(file, "some/where/result.png")
    assert store.read("some/where/result.png") == content
    assert [each.size for each in store.entries()] == [len(content)]


def test_what_is_missing_is_told_in_one_line(store: Store, tmp_path: Path) -> None:
    with pytest.raises((DownloadError, OSError)) as caught:
        store.fetch("none.png", tmp_path / "copy")
    assert "\n" not in str(caught.value)
    assert list(store.entries()) == []


@pytest.mark.parametrize("key", ["../x.png", "/x.png", "a//b", "a/./b", ""])
def test_no_key_leads_out_of_a_folder(tmp_path: Path, key: str) -> None:
    folder = Folder(tmp_path / "place")
    with pytest.raises(OutputError, match="below"):
        folder.write(key, b"x")
    assert not (tmp_path / "x.png").exists()


def test_no_link_leads_out_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "place" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "result").write_bytes(b"x")
    for key in ("link/r.png", "link/deeper/r.png"):
        with pytest.raises(OutputError, match="link"):
            Folder(tmp_path / "place").deliver(tmp_path / "result", key)
    assert not list((tmp_path / "outside").iterdir())


def test_addresses(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert place_of("SOURCE", "photos") == Place(str(tmp_path / "photos"), tmp_path / "photos")
    assert place_of("SOURCE", f"file://{tmp_path}/a%20b").folder == tmp_path / "a b"
    assert place_of("DEST", "S3://bucket/a/b/").url == "s3://bucket/a/b"
    assert place_of("DEST", "gs://bucket").url == "gs://bucket"
    assert place_of("DEST", "s3a://b/x") == place_of("SOURCE", "s3://b/x")
    for wrong in (
        "ftp://host/x",
        "s3:///photos",
        "file://host/x",
        "",
        "s3://b/a/../c",
        "s3://b//c",
        "s3://[b",
    ):
        with pytest.raises(UsageError, match="SOURCE"):
            place_of("SOURCE", wrong)


def test_places_hold_others(tmp_path: Path) -> None:
    def place(text: str) -> Place:
        return place_of("SOURCE", text)

    assert place("s3://b/photos").holds(place("s3://b/photos/large"))
    assert place("s3://b/photos").below(place("s3://b/photos/large/x")) == "large/x/"
    assert not place("s3://b/photos").holds(place("s3://b/photos2"))
    assert not place("s3://b/photos").holds(place(str(tmp_path)))
    assert place(str(tmp_path)).below(place(str(tmp_path / "a" / "b"))) == "a/b/"
    assert place(str(tmp_path)).below(place(str(tmp_path))) is None


def test_an_address_says_a_prefix_as_it_is() -> None:
    store = Place("s3://bucket/a%20b c/ü+").open()
    assert store._store.prefix == "a%20b c/ü+"  # type: ignore[attr-defined]


def test_what_a_killed_writer_left_goes_with_the_rest(store: Store) -> None:
    store.write("x/a/1.raw", b"1")
    store.write("x/b/2.raw", b"2")
    if isinstance(store, Folder):
        (store.root / "x" / "a" / ".camixersr-half").write_bytes(b"half")
    store.clear("x/a/")
    assert [each.key for each in store.entries("x/")] == ["x/b/2.raw"]
    store.clear("x/b/")
    store.clear("x/none/")
    assert list(store.entries()) == []
    if isinstance(store, Folder):
        assert not list(store.root.iterdir())


def test_half_a_file_of_a_killed_worker_goes_with_the_next_attempt(tmp_path: Path, monkeypatch) -> None:
    folder = Folder(tmp_path / "place")
    folder.write("r.png", b"old")
    with replacing(folder.root / "r.png") as half:
        copied = half.with_name(f"{half.name}-half")
        copied.write_bytes(b"half")
    (tmp_path / "result").write_bytes(b"new")

    def other_disk(self: Path, target: Path) -> None:
        if self == tmp_path / "result":
            raise OSError(errno.EXDEV, "another disk")
        os.replace(self, target)

    monkeypatch.setattr(Path, "replace", other_disk)
    folder.deliver(tmp_path / "result", "r.png")
    assert folder.read("r.png") == b"new"
    assert [each.name for each in folder.root.iterdir()] == ["r.png"]
