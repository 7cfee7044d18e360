"""A streamed file against the same picture in memory; interrupted, and resumed."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from camixersr.backends.protocol import AUTO_TILE
from camixersr.enlarge import disk as streaming
from camixersr.enlarge import spilled
from camixersr.enlarge.disk import Streamed, enlarge_file
from camixersr.enlarge.enlarge import enlarge
from camixersr.enlarge.options import Options
from camixersr.errors import (
    CamixerError,
    CancelledError,
    ImageError,
    MemoryLimitError,
    OutputError,
    UsageError,
)
from camixersr.image.decode import read
from camixersr.image.planes import Form
from camixersr.image.raw import Layout, Raw
from camixersr.image.stream import reduced
from camixersr.models.calibration import Calibration
from camixersr.nn import TopShare
from camixersr.tensors import from_array
from camixersr.weights import Model
from tests.conftest import TensorComputer, noise_picture, random_network

SLACK = 8_000_000  # the process itself grows a little from call to call


def upscaler(**options) -> TensorComputer:
    network = random_network(channels=8, blocks=(1, 1))
    low = from_array(noise_picture(150, 210))[None]
    _, routing = network.route(low, TopShare(0.5))
    half = tuple(float(block.scores.median()) for block in routing.blocks)
    return TensorComputer(Model("tiny", network, Calibration((0.5,), (half,))), device="cpu", **options)


def picture(folder: Path, mode: str = "RGB", size: tuple[int, int] = (150, 210)) -> Path:
    path = folder / "a.png"
    Image.fromarray(noise_picture(*size)).convert(mode).save(path)
    return path


def run(
    up: TensorComputer, source: Path, target: Path, progress=None, *, resume=False, spill=None, **options
) -> Streamed:
    how = Options(**options)
    return enlarge_file(up, source, target, how, progress=progress, resume=resume, spill=spill)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P"])
def test_a_streamed_picture_is_the_picture(tmp_path: Path, mode: str) -> None:
    source, target, up = picture(tmp_path, mode), tmp_path / "o.png", upscaler(tile=64)
    streamed = run(up, source, target)
    cost, expected = enlarge(up, read(source), alpha_by="bicubic")
    got = read(target)
    assert np.array_equal(got.pixels, expected.pixels)
    if expected.alpha is None:
        assert got.alpha is None
    else:
        assert got.alpha is not None
        assert np.array_equal(got.alpha, expected.alpha)
    assert cost is not None
    assert np.array_equal(streamed.cost.shares, cost.shares)
    assert (streamed.cost.macs, streamed.cost.tiles) == (cost.macs, cost.tiles)
    assert streamed.cost.tiles == 12
    assert 0.2 < streamed.cost.attention_share < 0.8
    assert sorted(os.listdir(tmp_path)) == ["a.png", "o.png"]


def test_depth_orientation_and_metadata_stay(tmp_path: Path) -> None:
    source, target, up = tmp_path / "a.jpg", tmp_path / "o.png", upscaler(tile=64)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Somebody's"
    Image.fromarray(noise_picture(100, 150)).save(source, exif=exif, dpi=(300, 300))
    run(up, source, target)
    _, expected = enlarge(up, read(source), alpha_by="bicubic")
    got = read(target)
    assert got.pixels.shape == (300, 200, 3)
    assert np.array_equal(got.pixels, expected.pixels)
    assert b"Somebody's" in bytes(got.metadata["exif-data"][1])
    deep = tmp_path / "deep.png"
    import pyvips

    pixels = noise_picture(100, 150).astype(np.uint16) * 257
    pyvips.Image.new_from_array(pixels).copy(interpretation="rgb16").write_to_file(str(deep))
    run(up, deep, tmp_path / "deep.tif")
    assert np.array_equal(read(tmp_path / "deep.tif").pixels, enlarge(up, read(deep))[1].pixels)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_what_is_far_from_everything_visible_is_the_same(tmp_path: Path, mode: str) -> None:
    """A part of the picture that sees nothing visible knows what the whole shows."""
    source, up = tmp_path / "a.png", upscaler(tile=64)
    pixels = np.asarray(Image.fromarray(noise_picture(200, 260)).convert(mode)).copy()
    pixels[:, :, -1] = 0
    pixels[10:30, 20:50, -1] = 255
    Image.fromarray(pixels).save(source)
    run(up, source, tmp_path / "o.png")
    _, expected = enlarge(up, read(source), alpha_by="bicubic")
    assert np.array_equal(read(tmp_path / "o.png").pixels, expected.pixels)


def test_a_small_picture_is_computed_whole(tmp_path: Path) -> None:
    source, up = picture(tmp_path), upscaler()
    streamed = run(up, source, tmp_path / "o.png")
    assert streamed.cost.tiles == 1
    assert np.array_equal(
        read(tmp_path / "o.png").pixels, enlarge(up, read(source), alpha_by="bicubic")[1].pixels
    )


def test_a_share_is_never_exceeded(tmp_path: Path) -> None:
    streamed = run(upscaler(tile=64), picture(tmp_path), tmp_path / "o.png", max_share=0.2)
    assert 0.05 < streamed.cost.attention_share <= 0.2


def stop_after(calls: int):
    """A progress that is interrupted."""
    left = [calls]

    def progress(done: int, total: int) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("calls", [1, 4, 12, 20, 26])  # of 26: 2 of the survey, 2 for each tile
def test_an_interrupted_job_resumes_to_the_same_bytes(tmp_path: Path, calls: int) -> None:
    source, up = picture(tmp_path), upscaler(tile=64)
    whole = run(up, source, tmp_path / "o.png")
    target = tmp_path / "p.png"
    with pytest.raises(KeyboardInterrupt):
        run(up, source, target, stop_after(calls), resume=True)
    assert not target.exists()
    assert (tmp_path / ".p.png.camixersr").is_dir()
    resumed = run(up, source, target, resume=True)
    assert (resumed.resumed > 0) == (calls > 4)
    assert target.read_bytes() == (tmp_path / "o.png").read_bytes()
    assert np.array_equal(resumed.cost.shares, whole.cost.shares)
    assert resumed.cost.attention_share == whole.cost.attention_share
    assert sorted(os.listdir(tmp_path)) == ["a.png", "o.png", "p.png"]


@pytest.mark.parametrize("after", [0, 2, 9, 20])
def test_a_job_is_cancelled_and_leaves_nothing(tmp_path: Path, after: int) -> None:
    """While it is decoded, and while it is computed."""
    asked: list[int] = []

    def cancel() -> bool:
        asked.append(1)
        return len(asked) > after

    up, source = upscaler(tile=64), picture(tmp_path)
    with pytest.raises(CancelledError):
        enlarge_file(up, source, tmp_path / "o.png", Options(), cancel=cancel)
    assert len(asked) == after + 1
    assert os.listdir(tmp_path) == ["a.png"]


def test_an_interrupted_job_leaves_nothing_if_not_asked_to(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(upscaler(tile=64), picture(tmp_path), tmp_path / "o.png", stop_after(20))
    assert os.listdir(tmp_path) == ["a.png"]


def test_a_job_with_other_options_is_not_resumed(tmp_path: Path) -> None:
    source, target = picture(tmp_path), tmp_path / "o.png"
    with suppress(KeyboardInterrupt):
        run(upscaler(tile=64), source, target, stop_after(20), resume=True)
    with pytest.raises(UsageError, match="another attention ratio, max share;"):
        run(upscaler(tile=64), source, target, resume=True, attention_ratio=0.3, max_share=0.1)
    with pytest.raises(UsageError, match="another tile;"):
        run(upscaler(tile=80), source, target, resume=True)
    Image.fromarray(noise_picture(150, 210, seed=9)).save(source)
    with pytest.raises(UsageError, match="another source;"):
        run(upscaler(tile=64), source, target, resume=True)
    assert run(upscaler(tile=64), source, target).resumed == 0


def test_a_resumed_job_keeps_its_thread_count(tmp_path: Path) -> None:
    source, target, up = picture(tmp_path), tmp_path / "o.png", upscaler(tile=64)
    torch.set_num_threads(1)
    with suppress(KeyboardInterrupt):
        run(up, source, target, stop_after(20), resume=True)
    torch.set_num_threads(2)
    seen: list[int] = []
    run(up, source, target, lambda *_: seen.append(torch.get_num_threads()), resume=True)
    assert set(seen[1:]) == {1}
    assert torch.get_num_threads() == 2


def test_a_source_that_ends_early_leaves_nothing(tmp_path: Path) -> None:
    source = picture(tmp_path, size=(300, 300))
    source.write_bytes(source.read_bytes()[:-9000])
    with pytest.raises(ImageError, match="damaged or truncated"):
        run(upscaler(tile=64), source, tmp_path / "o.png")
    assert os.listdir(tmp_path) == ["a.png"]


def test_a_disk_without_room_is_found_out_before(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(streaming.shutil, "disk_usage", lambda _: _Usage(300_000))
    with pytest.raises(OutputError, match="free for intermediate files, got"):
        run(upscaler(tile=64), picture(tmp_path), tmp_path / "o.png")
    assert os.listdir(tmp_path) == ["a.png"]


class _Usage:
    def __init__(self, free: int) -> None:
        self.free = free


def test_a_disk_that_fills_up_is_one_error(tmp_path: Path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OutputError("disk: cannot write there: No space left on device")

    monkeypatch.setattr(streaming.Raw, "sync", full)
    with pytest.raises(OutputError, match="No space left"):
        run(upscaler(tile=64), picture(tmp_path), tmp_path / "o.png")
    assert os.listdir(tmp_path) == ["a.png"]


def test_intermediate_files_go_where_they_are_told(tmp_path: Path) -> None:
    spill = tmp_path / "spill"
    spill.mkdir()
    source, up = picture(tmp_path), upscaler(tile=64)
    with suppress(KeyboardInterrupt):
        run(up, source, tmp_path / "o.png", stop_after(20), resume=True, spill=spill)
    assert sorted(os.listdir(tmp_path)) == ["a.png", "spill"]
    assert len(os.listdir(spill)) == 1
    assert run(up, source, tmp_path / "o.png", resume=True, spill=spill).resumed > 0
    assert os.listdir(spill) == []


@pytest.mark.parametrize("size", [(225, 315), (299, 419), (500, 500)])
@pytest.mark.parametrize("mode", ["L", "RGBA", "16"])
def test_any_size_is_streamed(tmp_path: Path, mode: str, size: tuple[int, int]) -> None:
    """As in memory, but for what is stored in 16 bits between the network and the resizing."""
    source, up = picture(tmp_path, "RGB" if mode == "16" else mode), upscaler(tile=64)
    if mode == "16":
        source = tmp_path / "a.tif"
        tifffile.imwrite(source, noise_picture(150, 210).astype(np.uint16) * 257 + 3)
    target = tmp_path / f"o{source.suffix}"
    streamed = enlarge_file(up, source, target, Options(alpha="bicubic"), size=size)
    assert streamed.layout == Layout(
        *size, {"L": 1, "RGBA": 4}.get(mode, 3), read(source).pixels.dtype.name
    )
    cost, expected = enlarge(up, read(source), size=size, alpha_by="bicubic")
    got = read(target)
    parts = [(got.pixels, expected.pixels)]
    if expected.alpha is not None and got.alpha is not None:
        parts.append((got.alpha, expected.alpha))
    assert len(parts) == (2 if mode == "RGBA" else 1)
    for ours, theirs in parts:
        differences = np.abs(ours.astype(int) - theirs.astype(int))
        assert differences.max() <= 1
        assert (differences > 0).mean() < (0.5 if mode == "16" else 0.01)
    assert cost is not None
    assert streamed.cost.macs == cost.macs
    assert streamed.notes == expected.notes
    assert ("bicubic interpolation" in " ".join(streamed.notes)) == (size == (500, 500))


def test_resizing_in_strips_is_resizing(tmp_path: Path) -> None:
    """At every height of strips, reducing and enlarging: to the bit, or to rounding in single precision."""
    source = np.random.default_rng(0).integers(0, 65536, (90, 70, 3)).astype(np.uint16)
    form = Form(np.dtype(np.uint8), grey=False)
    for height, width in ((31, 70), (90, 33), (200, 90)):
        expected = form.pixels(source.transpose(2, 0, 1).astype(np.float32) / 65535, size=(height, width))
        for strip in (1, 7, 64):
            with (
                Raw(tmp_path / "a", Layout(90, 70, 3, "uint16"), create=True) as before,
                Raw(tmp_path / "b", Layout(height, width, 3, "uint8"), create=True) as after,
                pytest.MonkeyPatch.context() as patch,
            ):
                patch.setattr(spilled, "STRIP", strip)
                before.write(0, 0, source)
                checks: list[None] = []
                spilled.resize(before, after, lambda checks=checks: checks.append(None))
                assert len(checks) == -(-height // strip)
                got = after.read(slice(0, height), slice(0, width))
            differences = np.abs(got.astype(int) - expected.astype(int))
            assert differences.max() <= 1
            assert (differences > 0).mean() < 1e-3


def test_what_an_omnidirectional_network_needs_is_granted() -> None:
    """In a process of its own: the peak stays below what is said, and not far below."""
    code = """if True:
        import numpy as np
        import torch
        from camixersr.backends.devices import peak_memory
        from camixersr.image.stream import Layout
        from camixersr.inference.computer import Computer
        from camixersr.models import make, presets
        from camixersr.weights import Model

        torch.manual_seed(0)
        network = make(presets()["omni-s-x4"])
        computer = Computer(Model("omni", network.eval().requires_grad_(False)), device="cpu")
        picture = np.random.default_rng(0).random((3, 160, 160), np.float32)
        said = computer.memory.predict(Layout(160, 160, 3, "uint8"), 0)
        computer.run(picture, attention_ratio=1.0)
        print(said, peak_memory(computer.device))
    """
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said, peak = map(int, ended.stdout.split())
    assert peak <= said <= 1.25 * peak


def test_the_memory_granted_chooses_the_tile() -> None:
    up, layout = upscaler(), Layout(4000, 6000, 3, "uint8")
    tiles = [
        up.memory.largest_tile(layout, up.memory.predict(layout, tile) + SLACK)
        for tile in (64, 160, AUTO_TILE)
    ]
    assert tiles == sorted(tiles)
    assert tiles[0] < 100 < tiles[1] < 200 < tiles[2]
    for tile in tiles:
        assert tile % 16 == 0
    with pytest.raises(MemoryLimitError, match=r"the smallest tile needs [\d.]+ [MG]B in all"):
        up.memory.largest_tile(layout, 50_000_000)


def test_little_memory_makes_small_tiles_and_too_little_one_error(tmp_path: Path) -> None:
    source, up = picture(tmp_path, size=(600, 600)), upscaler()
    layout = Layout(600, 600, 3, "uint8")
    streamed = run(up, source, tmp_path / "o.png", memory=up.memory.predict(layout, 128) + SLACK)
    assert 64 <= streamed.tile < AUTO_TILE
    with pytest.raises(MemoryLimitError, match="50 MB of memory do not suffice"):
        run(up, source, tmp_path / "p.png", memory=50_000_000)
    with pytest.raises(MemoryLimitError, match="use --tile"):
        run(upscaler(tile=512), source, tmp_path / "p.png", memory=up.memory.predict(layout, 128) + SLACK)
    assert sorted(os.listdir(tmp_path)) == ["a.png", "o.png"]


def test_a_deadline_chooses_the_ratio(tmp_path: Path) -> None:
    source, said = picture(tmp_path, size=(200, 200)), list[str]()
    up = upscaler(tile=64)
    generous = enlarge_file(up, source, tmp_path / "o.png", Options(seconds=1000.0), say=said.append)
    assert generous.attention_ratio == 1.0
    assert any(line.startswith("attention ratio 1 for the deadline") for line in said)
    strict = enlarge_file(up, source, tmp_path / "p.png", Options(seconds=1e-3), say=said.append)
    assert strict.attention_ratio == 0.0
    assert "the deadline cannot be kept" in said[-1]


def test_a_resumed_deadline_keeps_its_ratio(tmp_path: Path) -> None:
    source, target, up = picture(tmp_path), tmp_path / "o.png", upscaler(tile=64)
    with suppress(KeyboardInterrupt):
        run(up, source, target, stop_after(20), resume=True, seconds=1e-3)
    assert run(up, source, target, resume=True, seconds=1e-3).attention_ratio == 0.0


def test_what_a_person_is_told_names_size_tiles_memory_and_disk(tmp_path: Path) -> None:
    said: list[str] = []
    enlarge_file(upscaler(tile=64), picture(tmp_path), tmp_path / "o.png", Options(), say=said.append)
    assert len(said) == 1
    for part in ("210 x 150 -> 420 x 300", "tiles of up to 64 x 64", "of memory", "on disk meanwhile"):
        assert part in said[0]


def test_a_target_that_cannot_hold_it_is_refused_at_once(tmp_path: Path) -> None:
    source = tmp_path / "long.png"
    Image.new("L", (9000, 8)).save(source)
    with pytest.raises(CamixerError, match="16383"):
        run(upscaler(tile=64), source, tmp_path / "o.webp")
    assert os.listdir(tmp_path) == ["long.png"]


@pytest.mark.skipif(os.name == "nt", reason="names there are text")
def test_a_folder_whose_name_is_no_text_is_streamed_into(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes no names that are not UTF-8")
    source = picture(folder)
    run(upscaler(tile=64), source, folder / "o.png")
    plain = tmp_path / "plain.png"
    run(upscaler(tile=64), source, plain)
    assert (folder / "o.png").read_bytes() == plain.read_bytes()
    assert reduced(source, height=15, width=21).shape == (15, 21, 3)
