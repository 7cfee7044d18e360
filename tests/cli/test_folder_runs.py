"""Folder runs as a user meets them: trees, templates, resuming, kills, bad files, standard streams."""

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from camixersr.runs.find import Found
from camixersr.runs.pipeline import pipeline
from camixersr.runs.targets import Job
from camixersr.weights import Model, save
from tests.conftest import ROOT, noise_picture, random_network, run


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save(path, Model("tiny", random_network(channels=8, scale=2, blocks=(1,))))
    return path


def picture(path: Path, *, seed: int = 0, height: int = 16, width: int = 16) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise_picture(height, width, seed=seed)).save(path)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Pictures in folders, and what must be passed over."""
    root = tmp_path / "photos"
    for number, name in enumerate(["b.png", "a.jpg", "sub/c.webp", "sub/deep/d.tif", "e.bmp"]):
        picture(root / name, seed=number)
    (root / "notes.txt").write_text("no picture")
    (root / ".hidden.png").write_bytes((root / "b.png").read_bytes())
    return root


def below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


MIRRORED = {"a_x2.jpg", "b_x2.png", "e_x2.png", "sub/c_x2.webp", "sub/deep/d_x2.tif"}


def test_a_folder_is_mirrored(tree: Path, tmp_path: Path, model: Path, capsys) -> None:
    out = tmp_path / "out"
    assert run("upscale", tree, "-o", out, "--model", model) == 0
    assert below(out) == {*MIRRORED, "camixersr.jsonl"}
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 5
    assert "bmp is not written" in said.err
    lines = [json.loads(line) for line in (out / "camixersr.jsonl").read_text().splitlines()]
    assert [line["result"] for line in lines].count("done") == 5
    for line in lines:
        assert {"input", "output", "result", "sha256", "options"} <= set(line)
        if line["result"] == "done":
            assert (out / line["output"]).stat().st_size == line["bytes"]
            assert line["facts"]["seconds"] >= 0


def test_a_pattern_is_expanded_and_mirrored_from_its_fixed_part(
    tree: Path, tmp_path: Path, model: Path
) -> None:
    assert run("upscale", tree / "**" / "*.[wt]*", "-o", tmp_path / "out", "--model", model) == 0
    assert below(tmp_path / "out") == {"sub/c_x2.webp", "sub/deep/d_x2.tif", "camixersr.jsonl"}
    assert run("upscale", tree / "*.nef", "-o", tmp_path / "out", "--model", model) == 3


def test_results_inside_the_inputs_are_not_taken_for_inputs(tree: Path, model: Path) -> None:
    out = tree / "out"
    for _ in range(2):
        assert run("upscale", tree, "-o", out, "--model", model, "--overwrite") == 0
        assert below(out) == {*MIRRORED, "camixersr.jsonl"}


def test_names_come_from_a_template(tree: Path, tmp_path: Path, model: Path) -> None:
    out = tmp_path / "out"
    assert run("upscale", tree, "-o", out, "--model", model, "--name", "{name}-large", "--width", 20) == 0
    assert "sub/deep/d.tif-large.tif" in below(out)
    assert run("upscale", tree / "b.png", "-o", out, "--model", model, "--fit", "20x30") == 0
    assert "b_fit20x30.png" in below(out)
    for wrong in ("fixed", "{other}", "{stem.__class__}", "../{stem}", "{stem", "{stem:>10}", "{stem!r}"):
        assert run("upscale", tree, "-o", out, "--model", model, "--name", wrong) == 2


def test_one_format_for_all(tree: Path, tmp_path: Path, model: Path) -> None:
    out = tmp_path / "out"
    assert run("upscale", tree, "-o", out, "--model", model, "--format", "webp", "--lossless") == 0
    results = {name for name in below(out) if name.endswith(".webp")}
    assert len(results) == 5
    assert all(b"VP8L" in (out / name).read_bytes()[:100] for name in results)
    assert run("upscale", tree, "-o", out, "--model", model, "--format", "png", "--quality", 50) == 2


def test_encoding_options_belong_to_the_format(tmp_path: Path, model: Path) -> None:
    source = picture(tmp_path / "a.png")
    for target, options, code in (
        ("b.tiff", ["--compression", "lzw"], 0),
        ("b.tif", ["--compression", "5"], 2),
        ("b.jpeg", ["--quality", "40", "--subsampling", "4:2:0"], 0),
        ("b.webp", ["--lossless"], 0),
        ("c.webp", ["--no-lossless", "--quality", "30"], 0),
        ("b.jpg", ["--lossless"], 2),
        ("c.png", ["--strip", "--color", "srgb", "--alpha", "bicubic"], 0),
    ):
        assert run("upscale", source, "-o", tmp_path / target, "--model", model, *options) == code, target
        assert (tmp_path / target).exists() == (code == 0)
    assert (tmp_path / "c.webp").stat().st_size < (tmp_path / "b.webp").stat().st_size
    folder = tmp_path / "results.v2"
    folder.mkdir()
    assert run("upscale", source, "-o", folder, "--model", model, "--compression", "9") == 0


def test_twins_are_told_apart(tmp_path: Path, model: Path) -> None:
    for name in ("a.bmp", "a.png", "a.gif"):
        picture(tmp_path / "in" / name)
    assert run("upscale", tmp_path / "in", "-o", tmp_path / "out", "--model", model) == 0
    assert below(tmp_path / "out") == {"a_bmp_x2.png", "a_png_x2.png", "a_gif_x2.png", "camixersr.jsonl"}


def test_existing_results_are_refused_skipped_or_replaced(
    tree: Path, tmp_path: Path, model: Path, capsys
) -> None:
    out = tmp_path / "out"
    precious = out / "sub" / "c_x2.webp"
    precious.parent.mkdir(parents=True)
    precious.write_text("precious")
    common = ["upscale", tree, "-o", out, "--model", model]
    assert run(*common) == 3
    assert precious.read_text() == "precious"
    assert below(out) == {*MIRRORED, "camixersr.jsonl"}, "the others are made"
    assert "1 of 5 pictures failed" in capsys.readouterr().err
    before = (out / "b_x2.png").stat().st_mtime_ns
    assert run(*common, "--skip-existing") == 0
    assert precious.read_text() == "precious"
    assert run(*common, "--resume") == 3, "what is not ours is not replaced"
    assert precious.read_text() == "precious"
    assert (out / "b_x2.png").stat().st_mtime_ns == before, "what is done is not done again"
    assert run(*common, "--overwrite") == 0
    assert precious.read_bytes()[:4] == b"RIFF"
    assert run(*common, "--overwrite", "--skip-existing") == 2
    capsys.readouterr()
    assert run(*common, "--overwrite", "--resume") == 0, (
        "what is done with the same options is not done again"
    )
    assert "5 of 5 pictures were there already" in capsys.readouterr().err


def test_resuming_notices_other_inputs_and_options(tree: Path, tmp_path: Path, model: Path, capsys) -> None:
    out = tmp_path / "out"
    common = ["upscale", tree, "-o", out, "--model", model]
    assert run(*common) == 0
    capsys.readouterr()
    picture(tree / "b.png", seed=99)
    (out / "a_x2.jpg").unlink()
    assert run(*common, "--resume") == 0
    said = capsys.readouterr()
    assert "3 of 5 pictures were there already" in said.err
    assert len(said.out.splitlines()) == 2
    assert run(*common, "--resume", "--attention-ratio", 1) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5
    capsys.readouterr()
    for said in ("", "5 of 5 pictures were there already"):  # of nothing that was begun all is left to do
        assert run("upscale", tree, "-o", tmp_path / "new", "--model", model, "--resume") == 0
        assert said in capsys.readouterr().err
    assert run("upscale", tree / "a.jpg", tree / "b.png", "--model", model, "--resume") == 2


def test_one_bad_file_never_stops_the_rest(tree: Path, tmp_path: Path, model: Path, capsys) -> None:
    (tree / "bad1.png").write_bytes((tree / "b.png").read_bytes()[:200])
    (tree / "bad2.jpg").write_text("no picture")
    (tree / "bad3.png").write_bytes(b"")
    out = tmp_path / "out"
    assert run("upscale", tree, "-o", out, "--model", model) == 3
    assert below(out) == {*MIRRORED, "camixersr.jsonl"}
    errors = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1].rsplit("/")[-1] for line in errors[-4:-1]] == [
        "bad1.png",
        "bad2.jpg",
        "bad3.png",
    ]
    assert errors[-1] == "camixersr: 3 of 8 pictures failed"
    lines = [json.loads(line) for line in (out / "camixersr.jsonl").read_text().splitlines()]
    failed = {line["input"]: line["error"] for line in lines if line["result"] == "failed"}
    assert set(failed) == {"bad1.png", "bad2.jpg", "bad3.png"}
    assert all("\n" not in error for error in failed.values())


def test_a_crash_in_one_picture_is_that_pictures_failure(
    tree: Path, tmp_path: Path, model: Path, monkeypatch, capsys
) -> None:
    from camixersr.runs import picture as pictures

    def explode(path: Path, *rest: object) -> list[str]:
        if path.name.startswith("b"):
            raise MemoryError
        if path.name.startswith("c"):
            raise ZeroDivisionError("unexpected\nvery")
        return original(path, *rest)

    original = pictures.write
    monkeypatch.setattr(pictures, "write", explode)
    assert run("upscale", tree, "-o", tmp_path / "out", "--model", model) == 3
    assert len([name for name in below(tmp_path / "out") if "_x2" in name]) == 3
    errors = capsys.readouterr().err.splitlines()
    assert any("out of memory" in line for line in errors)
    assert any("ZeroDivisionError" in line for line in errors)


def test_links_do_not_lead_out_of_the_output_folder(
    tree: Path, tmp_path: Path, model: Path, capsys
) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (out / "sub").symlink_to(elsewhere)
    (tree / "loop").symlink_to(tree)
    victim = tmp_path / "victim.png"
    victim.write_text("precious")
    (out / "b_x2.png").symlink_to(victim)
    assert run("upscale", tree, "-o", out, "--model", model, "--overwrite") == 3
    assert not any(elsewhere.rglob("*")), "nothing is written outside"
    assert victim.read_text() == "precious", "the link is replaced, not what it points to"
    assert not (out / "b_x2.png").is_symlink()
    assert "leads out" in capsys.readouterr().err


def test_names_of_any_bytes_work(tmp_path: Path, model: Path, capsys) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    names = [b"two\nlines.png", b"not utf-8 \xff\xfe.png", b"esc\x1b[31m.png", "ü日本.png".encode(),
             b"page[1].png", b"-dash.png", b" lead.png", b"a" * 240 + b".png",
             b"%s{stem}.png", b"x].png"]  # fmt: skip
    content = picture(tmp_path / "a.png").read_bytes()
    os.mkdir(os.fsencode(folder) + b"/folder \xfe")
    for name in (*names, b"folder \xfe/a.png", b"folder \xfe/b.tif"):
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write(content)
    assert run("upscale", folder, "-o", tmp_path / "out", "--model", model) == 0
    out = os.fsencode(tmp_path / "out")
    expected = [name[:-4] + b"_x2.png" for name in names]
    assert sorted(os.listdir(out)) == sorted([*expected, b"camixersr.jsonl", b"folder \xfe"])
    assert sorted(os.listdir(out + b"/folder \xfe")) == [b"a_x2.png", b"b_x2.png"]
    said = capsys.readouterr().out
    assert len(said.splitlines()) == len(names) + 2, "a line each"
    assert "\x1b" not in said
    assert run("upscale", folder, "-o", tmp_path / "out", "--model", model, "--resume") == 0
    assert capsys.readouterr().out == ""


def test_a_second_run_at_once_is_refused(tree: Path, tmp_path: Path, model: Path, capsys) -> None:
    from camixersr.runs.manifest import MANIFEST, Manifest

    out = tmp_path / "out"
    out.mkdir()
    manifest = Manifest(out / MANIFEST)
    assert run("upscale", tree, "-o", out, "--model", model) == 3
    assert "another run" in capsys.readouterr().err
    manifest.close()
    assert run("upscale", tree, "-o", out, "--model", model) == 0


def test_folders_are_for_folders(tree: Path, tmp_path: Path, model: Path) -> None:
    assert run("upscale", tree, "-o", tmp_path / "one.png", "--model", model) == 2
    assert run("upscale", tree, "-o", "-", "--model", model) == 2


def process(*arguments: object, **options) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command(*arguments), env=environment(), capture_output=True, **options)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "camixersr", *map(str, arguments)]


def environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, (str(ROOT / "src"), os.environ.get("PYTHONPATH"))))
    return os.environ | {"PYTHONPATH": path}


def stream(content: bytes, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> tuple[int, bytes]:
    """Run with this on standard input; exit code, and what came on standard output."""
    out = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", out)
        code = run(*arguments)
    out.flush()
    return code, out.buffer.getvalue()


def test_standard_input_to_standard_output(tmp_path: Path, model: Path, monkeypatch, capsys) -> None:
    source = picture(tmp_path / "a.png").read_bytes()
    code, result = stream(source, monkeypatch, "upscale", "-", "--model", model, "--scale", 1.5)
    assert code == 0
    with Image.open(io.BytesIO(result)) as image:
        assert (image.format, image.size) == ("PNG", (24, 24))
    assert "16 x 16 -> 24 x 24" in capsys.readouterr().err
    assert (
        run("upscale", tmp_path / "a.png", "-o", tmp_path / "p.png", "--model", model, "--scale", 1.5) == 0
    )
    assert (tmp_path / "p.png").read_bytes() == result, "the same bytes as through files"
    code, result = stream(
        source, monkeypatch, "upscale", "-", "-o", "-", "--format", "jpg", "--model", model
    )
    assert (code, result[:3]) == (0, b"\xff\xd8\xff")
    capsys.readouterr()
    cut = ("upscale", "-", "-o", tmp_path / "q.png", "--model", model)
    assert stream(source[:300], monkeypatch, *cut) == (3, b"")
    errors = capsys.readouterr().err
    assert len(errors.splitlines()) == 1
    assert "standard input" in errors
    assert not (tmp_path / "q.png").exists()


def killed_run(source: Path, out: Path, model: Path, kills: int, seed: int) -> int:
    """Kill runs at random moments until the number is reached or all is done; how many were killed."""
    dice = random.Random(seed)
    arguments = ("upscale", source, "-o", out, "--model", model, "--resume", "--device", "cpu")
    killed = 0
    out.mkdir()
    for _ in range(kills):
        manifest = out / "camixersr.jsonl"
        before = manifest.read_bytes().count(b"\n") if manifest.exists() else 0
        wanted = before + dice.randint(1, 5)
        running = subprocess.Popen(command(*arguments), env=environment(), stdout=-3, stderr=-3)
        until = time.monotonic() + 120
        while running.poll() is None and time.monotonic() < until:
            if manifest.exists() and manifest.read_bytes().count(b"\n") >= wanted:
                time.sleep(dice.random() * 0.01)
                break
            time.sleep(0.0005)
        if running.poll() is None:
            running.send_signal(signal.SIGKILL)
            killed += 1
        running.wait()
    assert process(*arguments).returncode == 0
    return killed


def check_kills(tmp_path: Path, model: Path, *, pictures: int, kills: int) -> None:
    source = tmp_path / "in"
    for number in range(pictures):
        suffix = ("png", "jpg", "tif")[number % 3]
        picture(source / f"folder{number % 4}" / f"{number:02}.{suffix}", seed=number, height=24, width=40)
    assert run("upscale", source, "-o", tmp_path / "unbroken", "--model", model, "--device", "cpu") == 0
    killed = killed_run(source, tmp_path / "killed", model, kills, seed=1)
    assert killed >= kills * 2 // 3
    unbroken, after = below(tmp_path / "unbroken"), below(tmp_path / "killed")
    assert after == unbroken, "every file once, and nothing else"
    for name in unbroken - {"camixersr.jsonl"}:
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes(), (
            name
        )


def test_a_run_that_is_killed_is_resumed_to_the_same_bytes(tmp_path: Path, model: Path) -> None:
    check_kills(tmp_path, model, pictures=12, kills=3)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_thirty_kills_leave_sixty_files_whole(tmp_path: Path, model: Path) -> None:
    check_kills(tmp_path, model, pictures=60, kills=30)


def test_a_torn_manifest_is_read(tree: Path, tmp_path: Path, model: Path, capsys) -> None:
    out = tmp_path / "out"
    common = ["upscale", tree, "-o", out, "--model", model]
    assert run(*common) == 0
    with (out / "camixersr.jsonl").open("ab") as file:
        file.write(b'[]\n"text"\n{}\n\xff\xfe\n{"input": "b.png", "outp')
    capsys.readouterr()
    assert run(*common, "--resume") == 0
    assert "5 of 5" in capsys.readouterr().err


def test_all_pages_of_a_tiff_are_enlarged(tmp_path: Path, model: Path) -> None:
    pages = [Image.fromarray(noise_picture(16, 10 + seed, seed=seed)) for seed in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert run("upscale", tmp_path / "a.tif", "--model", model) == 0
    assert run("upscale", tmp_path / "a.tif", "--model", model, "--format", "png") == 0
    for number in range(3):
        pages[number].save(tmp_path / "single.png")
        assert run("upscale", tmp_path / "single.png", "--model", model, "--overwrite") == 0
        with Image.open(tmp_path / "a_x2.tif") as result, Image.open(tmp_path / "single_x2.png") as single:
            result.seek(number)
            assert np.array_equal(np.asarray(result), np.asarray(single))


def test_max_pixels_is_checked_before_decoding(tmp_path: Path, model: Path, capsys) -> None:
    path = picture(tmp_path / "a.png")
    assert run("upscale", path, "--model", model, "--max-pixels", 255) == 3
    assert "--max-pixels" in capsys.readouterr().err
    assert run("upscale", path, "--model", model, "--max-pixels", 256) == 0
    assert run("upscale", path, "--model", model, "--max-pixels", 0) == 2


def test_pictures_come_out_in_order_whatever_fails() -> None:
    jobs = [Job(Found(Path(str(n)), Path(str(n))), Path(f"{n}.out"), settled=True) for n in range(9)]
    written, asked = [], []

    def given():
        for job in jobs:
            asked.append(job.source.name)
            yield job

    def compute(job: Job, name: str) -> str:
        assert len(asked) <= int(name) + 2, "no more than one is read ahead"
        if name in ("3", "7"):
            raise ValueError(name)
        return name

    def encode(job: Job, name: str) -> str:
        written.append((job.source.name, name))
        if name in ("2", "8"):
            raise OSError(name)
        return f"{name} is done"

    came = list(pipeline(given(), decode=lambda job: job.source.name, compute=compute, encode=encode))
    assert written == [(str(n), str(n)) for n in range(9) if n not in (3, 7)]
    assert [job.source.name for job, _ in came] == [str(n) for n in range(9)]
    said = [str(outcome) for _, outcome in came]
    assert said == [str(n) if n in (2, 3, 7, 8) else f"{n} is done" for n in range(9)]
    assert [type(outcome) for _, outcome in came].count(str) == 5


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM", "the terminal closes", "a device dies"])
@pytest.mark.usefixtures("one_thread")
def test_a_run_on_several_devices_ends_clean_and_goes_on(tmp_path: Path, model: Path, how: str) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for number in range(8):
        picture(source / f"{number:02}.png", seed=number, height=160, width=160)
    arguments = ("upscale", source, "-o", out, "--model", model, "--device", "cpu,cpu")
    running = subprocess.Popen(
        command(*arguments),
        env=environment() | {"OMP_NUM_THREADS": "1"},
        stdout=-3,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    manifest, until = out / "camixersr.jsonl", time.monotonic() + 120
    while not (manifest.exists() and manifest.read_bytes().count(b'"done"') >= 1):
        assert running.poll() is None
        assert time.monotonic() < until
        time.sleep(0.001)
    if how == "Ctrl-C":  # a terminal sends it to all processes
        os.killpg(running.pid, signal.SIGINT)
    elif how == "SIGTERM":
        running.terminate()
    elif how == "the terminal closes":
        os.killpg(running.pid, signal.SIGHUP)
    else:
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        os.kill(int(children[-1]), signal.SIGKILL)
    said = running.communicate(timeout=120)[1].decode().splitlines()
    code, words = {
        "Ctrl-C": (130, "stopping... (Ctrl-C again ends at once)"),
        "SIGTERM": (143, "terminated; nothing was left half-written"),
        "the terminal closes": (129, "terminated; nothing was left half-written"),
        "a device dies": (2, "the process that computes on cpu has ended, by signal 9"),
    }[how]
    assert running.returncode == code
    assert words in said[0]
    assert len(said) == (3 if how == "Ctrl-C" else 1)
    if how == "Ctrl-C":
        assert "of 8 pictures are done, and what was begun is kept; to go on:" in said[1]
        assert said[2].endswith(" --device cpu,cpu --resume")
    done = manifest.read_bytes().count(b'"done"')
    assert done < 8
    if how != "a device dies":
        left = below(out) - {"camixersr.jsonl"}
        assert done <= len(left) <= done + 2  # one a device may be written and not be noted yet
        for name in left:
            with Image.open(out / name) as whole:
                whole.load()
    assert run(*arguments, "--resume") == 0
    assert run("upscale", source, "-o", tmp_path / "one", "--model", model, "--device", "cpu") == 0
    assert below(out) == below(tmp_path / "one")
    for name in below(out) - {"camixersr.jsonl"}:
        assert (out / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


@pytest.fixture
def one_thread() -> None:
    """Two devices on the CPU have half of the threads each, which would show in last bits."""
    torch.set_num_threads(1)


@pytest.mark.usefixtures("one_thread")
def test_devices_share_a_folder(tmp_path: Path, model: Path, capsys) -> None:
    """Files on two devices, and one large picture's tiles: the bytes of one device, all facts there."""
    source = tmp_path / "in"
    source.mkdir()
    for number, size in enumerate([(40, 30), (20, 50), (33, 33), (60, 600), (16, 16)]):
        Image.fromarray(noise_picture(*size, seed=number)).save(source / f"{number}.png")
    (source / "bad.png").write_bytes(b"no picture")
    options = ("--model", model, "--tile", 64, "--memory", "4GB")
    for name, device in (("one", "cpu"), ("two", "cpu,cpu")):
        facts = tmp_path / f"{name}.json"
        code = run("upscale", source, "-o", tmp_path / name, "--device", device, "--json", facts, *options)
        assert code == 3
        told = [Path(each["input"]).name for each in json.loads(facts.read_text())]
        assert told == [f"{number}.png" for number in range(5)]
        printed, said = capsys.readouterr()
        assert [f"{number}_x2.png: " in printed for number in range(5)] == [True] * 5
        assert len(printed.splitlines()) == 5
        assert said.count("bad.png") == 1
        assert "1 of 6 pictures failed" in said
        assert said.count("of memory") == 5  # what each needs is said above the bar
    one, two = (
        {each.name: each.read_bytes() for each in (tmp_path / name).glob("*.png")}
        for name in ("one", "two")
    )
    assert len(one) == 5
    assert one == two
    assert run("upscale", source, "-o", tmp_path / "two", "--device", "cpu,cpu", "--resume", *options) == 3
    assert "5 of 6 pictures were there already" in capsys.readouterr().err
    large = source / "3.png"
    for name, device in (("a", "cpu"), ("b", "cpu,cpu")):
        assert run("upscale", large, "-o", tmp_path / f"{name}.png", "--device", device, *options) == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
