"""Official checkpoints over loopback HTTP: good, corrupted, truncated, missing."""

import functools
import hashlib
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from camixersr import catalogue
from camixersr.cli import main
from camixersr.errors import CheckpointError, DownloadError, UnknownModelError
from camixersr.weights import save
from tests.conftest import shared

NAME = "official-s-x4"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class _Liar(_Quiet):
    """Promises the whole file and hangs up half-way."""

    def do_GET(self) -> None:
        content = Path(self.translate_path(self.path)).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str, str]]:
    """A folder served over HTTP; its address; the address of the server that hangs up."""
    monkeypatch.setenv("CAMIXERSR_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CAMIXERSR_MODELS_URL", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    folder = tmp_path / "site"
    (folder / "LargeSR").mkdir(parents=True)
    servers = [
        ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(kind, directory=str(folder)))
        for kind in (_Quiet, _Liar)
    ]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    good, liar = (f"http://127.0.0.1:{server.server_port}" for server in servers)
    yield folder, good, liar
    for server in servers:
        server.shutdown()
        server.server_close()


def put(folder: Path, content: bytes) -> None:
    (folder / catalogue.OFFICIAL[NAME].path).write_bytes(content)


def official() -> bytes:
    return shared("official/CAMixerSR_S.pth").read_bytes()


def cache_is_empty() -> bool:
    folder = catalogue.cached_path(NAME).parent
    return not folder.exists() or not any(folder.iterdir())


def test_a_good_file_is_fetched_once_verified_and_found(site) -> None:
    folder, address, _ = site
    put(folder, official())
    seen: list[tuple[int, int]] = []
    path = catalogue.pull(NAME, source=address, progress=lambda done, total: seen.append((done, total)))
    assert path == catalogue.cached_path(NAME)
    assert path.read_bytes() == official()
    assert seen[-1] == (len(official()), len(official()))
    assert catalogue.find(NAME).parameters == 351_238
    (folder / catalogue.OFFICIAL[NAME].path).unlink()
    assert catalogue.pull(NAME, source=address) == path  # from the cache: the site has it no more


def test_the_address_can_come_from_the_environment(site, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, address, _ = site
    put(folder, official())
    monkeypatch.setenv("CAMIXERSR_MODELS_URL", address + "/")
    assert catalogue.pull(NAME).is_file()


def test_a_corrupted_file_is_refused_and_not_kept(site) -> None:
    folder, address, _ = site
    content = bytearray(official())
    content[1000] ^= 1
    put(folder, bytes(content))
    with pytest.raises(DownloadError, match="expected git blob"):
        catalogue.pull(NAME, source=address)
    assert cache_is_empty()


def test_a_truncated_file_is_refused_and_not_kept(site) -> None:
    folder, address, liar = site
    put(folder, official()[:-1000])
    with pytest.raises(DownloadError, match="expected git blob"):
        catalogue.pull(NAME, source=address)
    put(folder, official())
    with pytest.raises(DownloadError):
        catalogue.pull(NAME, source=liar)
    assert cache_is_empty()


def test_no_file_and_no_server_are_one_clear_line(site) -> None:
    _, address, _ = site
    for source in (address, "http://127.0.0.1:9", "nonsense"):
        with pytest.raises(DownloadError, match="cannot be fetched") as caught:
            catalogue.pull(NAME, source=source, timeout=5)
        assert "\n" not in str(caught.value)
    assert cache_is_empty()


def test_without_a_network_it_says_what_to_do(site, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """The address, the place to put the file at; which then is used, verified, without pulling."""
    _, address, _ = site
    monkeypatch.setenv("CAMIXERSR_MODELS_URL", address)
    with pytest.raises(SystemExit) as ended:
        main(["models", "pull", NAME])
    assert ended.value.code != 0
    said = capsys.readouterr().err
    assert len(said.strip().splitlines()) == 1
    place = catalogue.cached_path(NAME)
    assert f"{address}/LargeSR/CAMixerSR_S.pth" in said
    assert f"put it at {place}" in said
    place.parent.mkdir(parents=True)
    place.write_bytes(official())
    assert catalogue.find(NAME).parameters == 351_238


def test_the_authors_files_are_recognised_by_their_hash(tmp_path: Path, capsys) -> None:
    """Under any name; one that was changed is not."""
    file = tmp_path / "something.pth"
    file.write_bytes(official())
    assert catalogue.official_name(file) == NAME
    assert catalogue.find(file).provenance["official"] == NAME
    with pytest.raises(SystemExit):
        main(["models", "show", str(file)])
    assert f"official: {NAME}: authors' S x4" in capsys.readouterr().out
    save(tmp_path / "own.safetensors", catalogue.find("s-x4"))
    assert catalogue.official_name(tmp_path / "own.safetensors") == ""
    assert "official" not in catalogue.find(tmp_path / "own.safetensors").provenance
    file.write_bytes(official() + b"!")
    assert catalogue.official_name(file) == ""


def test_a_damaged_cache_is_noticed_and_mended(site) -> None:
    folder, address, _ = site
    put(folder, official())
    path = catalogue.pull(NAME, source=address)
    path.write_bytes(official()[:-1] + b"!")
    with pytest.raises(CheckpointError, match="again"):
        catalogue.find(NAME)
    catalogue.pull(NAME, source=address)
    assert catalogue.find(NAME).name == NAME


def test_what_is_not_there_says_how_to_get_it(site) -> None:
    with pytest.raises(CheckpointError, match=f"models pull {NAME}"):
        catalogue.find(NAME)


def test_unknown_names_list_the_known_ones(site) -> None:
    for call in (catalogue.find, catalogue.pull):
        with pytest.raises(UnknownModelError, match="official-b-x4"):
            call("official-z-x9")
    with pytest.raises(UnknownModelError, match="s-x4"):
        catalogue.find("nothing")
    with pytest.raises(UnknownModelError, match=r"x7.*s-x4"):
        catalogue.default_model(7)


def test_git_blob_ids_are_well_formed_and_distinct() -> None:
    blobs = [official.blob for official in catalogue.OFFICIAL.values()]
    assert len(set(blobs)) == len(blobs)
    assert all(len(blob) == 40 and int(blob, 16) >= 0 for blob in blobs)


def test_the_blob_id_is_gits(tmp_path: Path) -> None:
    """`git hash-object` of an empty file is a constant everybody knows."""
    empty = hashlib.sha1(b"blob 0\0", usedforsecurity=False).hexdigest()
    assert empty == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    nothing = catalogue.Official("a", empty, "")
    assert catalogue._wrong(nothing, b"") == ""
    assert "2 bytes" in catalogue._wrong(nothing, b"ab")
