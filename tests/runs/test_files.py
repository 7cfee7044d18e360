"""Many files through the library: results, events, cancelling; nothing is left half-written."""

import json
import re
import threading
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from PIL import Image

import camixersr
from camixersr import Options
from camixersr.errors import CancelledError, ImageError, UsageError, ValueRangeError
from camixersr.image.decode import read
from camixersr.runs.manifest import MANIFEST
from camixersr.runs.results import Advanced, Began, Event, Finished, Remark
from camixersr.weights import Model, save
from tests.conftest import noise_picture, random_network, run


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> Options:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save(path, Model("tiny", random_network(channels=8, scale=2, blocks=(1,))))
    return Options(model=str(path), device="cpu")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        Image.fromarray(noise_picture(16, 16, seed=number)).save(folder / f"{number}.png")
    (folder / "1.png").write_bytes(b"no picture")
    return folder


def below(folder: Path) -> set[str]:
    return {str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file()}


def test_results_come_one_by_one_in_order(photos: Path, tmp_path: Path, options: Options) -> None:
    out = tmp_path / "out"
    files = camixersr.upscale_files(photos, out, options=options)
    assert len(files) == 3
    assert not out.exists(), "nothing is done before it is asked for"
    results = list(files)
    assert [each.source.name for each in results] == ["0.png", "1.png", "2.png"]
    assert [each.status for each in results] == ["done", "failed", "done"]
    assert results[0].target == out / "0_x2.png"
    assert results[0].facts["high_size"] == [32, 32]
    assert isinstance(results[1].error, ImageError)
    assert below(out) == {"0_x2.png", "2_x2.png", MANIFEST}
    again = list(camixersr.upscale_files(str(photos), str(out), options=options, existing="resume"))
    assert [each.status for each in again] == ["skipped", "failed", "skipped"]
    assert again[0].facts == results[0].facts


def test_the_command_line_writes_what_the_library_writes(
    photos: Path, tmp_path: Path, options: Options
) -> None:
    (photos / "1.png").unlink()
    facts = tmp_path / "f.json"
    results = list(camixersr.upscale_files([photos], tmp_path / "a", options=options))
    flags = ("--model", options.model, "--device", "cpu", "--json", facts)
    assert run("upscale", photos, "-o", tmp_path / "b", *flags) == 0
    for result in results:
        assert result.target.read_bytes() == (tmp_path / "b" / result.target.name).read_bytes()
    passing = ("output", "seconds", "peak_memory_bytes")
    told = [
        [{key: value for key, value in each.items() if key not in passing} for each in some]
        for some in ([dict(each.facts) for each in results], json.loads(facts.read_text()))
    ]
    assert told[0] == told[1]


def test_restoring_is_upscaling_with_a_model_that_restores(tmp_path: Path) -> None:
    source = tmp_path / "a.jpg"
    Image.fromarray(noise_picture(24, 40)).save(source, quality=30)
    [result] = camixersr.restore_files(source, options=Options(device="cpu"))
    assert result.target == tmp_path / "a_restored.jpg"
    assert (result.facts["model"], result.facts["high_size"]) == ("s-jpeg", [40, 24])
    with pytest.raises(UsageError, match="own size"):
        camixersr.restore_files(source, options=Options(scale=2.0))


@pytest.mark.parametrize("devices", ["cpu", "cpu,cpu"])
def test_whoever_listens_hears_what_happens(
    photos: Path, tmp_path: Path, options: Options, devices: str
) -> None:
    events: list[Event] = []
    options = replace(options, device=devices, memory="8GB")
    list(camixersr.upscale_files(photos, tmp_path / "out", options=options, on_progress=events.append))
    good = {photos / "0.png", photos / "2.png"}
    assert {each.source for each in events if isinstance(each, Began)} == good
    assert {each.source for each in events if isinstance(each, Remark)} == good  # what memory is needed
    finished = [each.result for each in events if isinstance(each, Finished)]
    assert sorted((each.source.name, each.status) for each in finished) == [
        ("0.png", "done"),
        ("1.png", "failed"),
        ("2.png", "done"),
    ]
    steps = [each for each in events if isinstance(each, Advanced) and each.source == photos / "0.png"]
    if devices == "cpu":
        assert steps[-1].done == steps[-1].total
        totals = list(
            dict.fromkeys(each.total for each in steps)
        )  # of the network; then, if slow, the encoder
        assert len(totals) <= 2
        assert steps == sorted(steps, key=lambda each: (totals.index(each.total), each.done))


@pytest.mark.parametrize("how", ["held", "streamed", "shared"])
def test_cancelling_stops_at_a_tile_and_leaves_nothing_half_written(
    tmp_path: Path, options: Options, how: str
) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for number in range(3):
        Image.fromarray(noise_picture(200, 200, seed=number)).save(photos / f"{number}.png")
    cancel = threading.Event()
    finished: list[str] = []
    begun: list[str] = []

    def listen(event: Event) -> None:
        if isinstance(event, Finished):
            finished.append(event.result.source.name)
        if isinstance(event, Began):
            begun.append(event.source.name)
            if len(begun) == 2:
                cancel.set()

    options = replace(
        options,
        tile=64,
        seconds=1e6 if how == "streamed" else None,
        device="cpu,cpu" if how == "shared" else "cpu",
    )
    files = camixersr.upscale_files(photos, out, options=options, on_progress=listen, cancel=cancel)
    with pytest.raises(CancelledError, match="nothing was left half-written"):
        list(files)
    assert len(begun) == 2, "the third was never begun"
    left = below(out) - {MANIFEST}
    assert left <= {f"{name[0]}_x2.png" for name in finished} | {"0_x2.png"}
    for name in left:
        with Image.open(out / name) as whole:
            whole.load()
    cancel.clear()
    results = list(
        camixersr.upscale_files(photos, out, options=options, existing="resume", cancel=cancel.is_set)
    )
    assert {each.status for each in results} <= {"done", "skipped"}
    assert below(out) == {"0_x2.png", "1_x2.png", "2_x2.png", MANIFEST}


def test_who_stops_listening_leaves_nothing_half_written(tmp_path: Path, options: Options) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for number in range(4):
        Image.fromarray(noise_picture(16, 16, seed=number)).save(photos / f"{number}.png")
    files = camixersr.upscale_files(photos, out, options=options)
    assert next(files).status == "done"
    files.close()
    assert below(out) - {MANIFEST} <= {"0_x2.png", "1_x2.png"}
    assert list(files) == []
    # and the folder is free for another run
    assert len(list(camixersr.upscale_files(photos, out, options=options, existing="resume"))) == 4


def test_what_cannot_be_is_refused_by_the_call(photos: Path, tmp_path: Path, options: Options) -> None:
    with pytest.raises(UsageError, match="at least one input"):
        camixersr.upscale_files([], options=options)
    with pytest.raises(ValueRangeError, match="--max-pixels"):
        camixersr.upscale_files(photos, options=options, max_pixels=0)
    with pytest.raises(UsageError, match="--spill"):
        camixersr.upscale_files(photos, options=options, spill=tmp_path / "no")
    with pytest.raises(UsageError, match="restores nothing"):
        camixersr.restore_files(photos, options=options)
    with pytest.raises(UsageError, match="means nothing for png"):
        camixersr.upscale_files(photos / "0.png", tmp_path / "o.png", options=replace(options, quality=3))
    with pytest.raises(ImageError, match="expected pictures in this folder"):
        camixersr.upscale_files(tmp_path / "photos" / "..", tmp_path / "photos", options=options)
    assert below(tmp_path) == {"photos/0.png", "photos/1.png", "photos/2.png"}


def test_threads_of_torch_are_left_alone(photos: Path, tmp_path: Path, options: Options) -> None:
    before = torch.get_num_threads()
    list(camixersr.upscale_files(photos, tmp_path / "out", options=replace(options, seconds=100.0)))
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("tile", ["auto", 64])
def test_a_frame_is_filled_by_small_pictures_and_large_ones_of_a_folder(
    tmp_path: Path, options: Options, tile: int | Literal["auto"], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, side in (("small", 16), ("middle", 80), ("large", 200), ("fitting", 120)):
        Image.fromarray(noise_picture(side, side)).save(folder / f"{name}.png")
    options = replace(options, fit="120x120", tile=tile)
    results = {each.source.stem: each for each in camixersr.upscale_files(folder, options=options)}
    assert [each.error for each in results.values()] == [None] * 4
    sizes = {name: (each.facts["model_size"], each.facts["high_size"]) for name, each in results.items()}
    assert sizes == {
        "small": ([32, 32], [120, 120]),
        "middle": ([160, 160], [120, 120]),
        "large": (None, [120, 120]),
        "fitting": (None, [120, 120]),
    }
    assert "from there to 120 x 120 by bicubic interpolation" in results["small"].notes[0]
    assert all(results[name].notes == () for name in ("middle", "large", "fitting"))
    for each in results.values():
        assert read(each.target).pixels.shape == (120, 120, 3)

    most = list(camixersr.upscale_files(folder / "small.png", options=replace(options, at_most=True)))
    assert (most[0].facts["high_size"], most[0].notes) == ([32, 32], ())
    assert most[0].facts["options"]["at_most"] is True

    flags = ("--fit", "120x120", "--model", options.model, "--device", "cpu", "--route-map")
    assert run("upscale", folder, "-o", tmp_path / "out", *flags, tmp_path / "routes") == 0
    shown = capsys.readouterr()
    lines = {line.split("_fit")[0].rsplit("/", 1)[-1]: line for line in shown.out.splitlines()}
    assert re.search(r": 200 x 200 -> 120 x 120, \d+\.\d s, reduced$", lines["large"])
    assert lines["fitting"].endswith("kept at its size")
    assert re.search(r"% of windows attended \(ratio 0.5, which .* recommends\)$", lines["small"])
    assert f"{folder / 'small.png'}: enlarged to 32 x 32 by the model" in shown.err
    assert f"{folder / 'large.png'}: it has no route map: the network was not needed" in shown.err


def test_a_streamed_picture_is_of_any_size(tmp_path: Path, options: Options) -> None:
    """Also beyond the model's reach, which is said; what is only reduced needs no tiles."""
    source, target = tmp_path / "a.png", tmp_path / "b.png"
    Image.fromarray(noise_picture(600, 500)).save(source)
    frame = replace(options, fit="2000x1250", attention_ratio=0.0)
    [most] = camixersr.upscale_files(source, target, options=replace(frame, at_most=True))
    assert most.facts["high_size"] == most.facts["model_size"] == [1000, 1200]
    assert "predicted_memory_bytes" in most.facts, "it was streamed"
    [beyond] = camixersr.upscale_files(source, target, options=frame, existing="overwrite")
    assert (beyond.facts["high_size"], beyond.facts["model_size"]) == ([1042, 1250], [1000, 1200])
    assert "predicted_memory_bytes" in beyond.facts
    assert "bicubic" in beyond.notes[0]
    with Image.open(target) as made:
        assert made.size == (1042, 1250)
    smaller = replace(options, width=250, memory="4GB")
    [reduced] = camixersr.upscale_files(source, target, options=smaller, existing="overwrite")
    assert (reduced.facts["high_size"], reduced.facts["model_size"]) == ([250, 300], None)


def test_a_compressed_jpeg_is_restored_or_that_is_suggested_once_a_run(
    tmp_path: Path, options: Options
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, quality in (("a", 95), ("b", 60), ("c", 40), ("d", 90)):
        Image.fromarray(noise_picture(16, 16)).save(folder / f"{name}.jpg", quality=quality)
    Image.fromarray(noise_picture(16, 16)).save(folder / "e.png")
    results = list(camixersr.upscale_files(folder, options=options))
    assert [each.facts["restored"] for each in results] == [False, True, True, False, False]
    said = [note for each in results for note in each.notes]
    assert len(said) == 1
    assert said[0].startswith("a JPEG of quality 60, restored by s-jpeg before it is enlarged")
    plain = replace(options, restore="off")
    results = list(camixersr.upscale_files(folder, options=plain, existing="overwrite"))
    assert [each.facts.get("quality") for each in results] == [95, 60, 40, 90, None]
    hints = [[note for note in each.notes if "restore" in note] for each in results]
    assert [len(each) for each in hints] == [0, 1, 0, 0, 0]
    assert "a JPEG of quality 60" in hints[1][0]
    [one] = camixersr.upscale_files(folder / "c.jpg", tmp_path / "p.png", options=plain)
    assert "it looks better with --restore auto" in one.notes[0]
    streamed = replace(options, memory="8GB")
    [one] = camixersr.upscale_files(folder / "c.jpg", tmp_path / "o.png", options=streamed)
    assert "quality 40" in " ".join(one.notes)
    assert one.facts["quality"] == 40


def test_models_that_are_kept_are_loaded_once_and_change_nothing(tmp_path: Path) -> None:
    source = tmp_path / "a.png"
    Image.fromarray(noise_picture(20, 30)).save(source)
    kept: dict = {}
    results = []
    for number, ratio in enumerate((0.5, 0.2, 0.5)):
        options = Options(scale=2, attention_ratio=ratio)
        (result,) = camixersr.upscale_files(source, tmp_path / f"{number}.png", options=options, kept=kept)
        results.append(result.target.read_bytes())
        assert len(kept) == 1
    asked = Options(scale=2, attention_ratio=0.5)
    (fresh,) = camixersr.upscale_files(source, tmp_path / "fresh.png", options=asked)
    assert results[0] == results[2] == fresh.target.read_bytes() != results[1]
    assert len(kept) == 1
    list(
        camixersr.upscale_files(
            source, tmp_path / "tiles.png", options=Options(scale=2, tile=64), kept=kept
        )
    )
    assert len(kept) == 2  # it computes otherwise
    assert fresh.routes is not None
    assert fresh.routes.shares.shape == (2, 2)
    assert fresh.routes.side == (32.0, 32.0)
