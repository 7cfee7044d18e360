"""The command line as a user meets it: a process, its exit code, its two streams, its files."""

import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import camixersr
from camixersr.cli import main
from camixersr.image.decode import read
from camixersr.weights import Model, save
from tests.conftest import noise_picture, random_network, run, shared


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    Image.fromarray(noise_picture(40, 56)).save(path)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A tiny x2 model, so that a run takes milliseconds."""
    path = tmp_path / "tiny.safetensors"
    save(path, Model("tiny", random_network(channels=8, scale=2, blocks=(1,))))
    return path


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_one_picture_with_the_embedded_model(picture: Path, capsys) -> None:
    assert run("upscale", picture, "--device", "cpu") == 0
    out = capsys.readouterr()
    result = read(picture.with_name("a_x4.png")).pixels
    assert result.shape == (160, 224, 3)
    expected = camixersr.load("s-x4", device="cpu").upscale(noise_picture(40, 56))
    assert np.array_equal(result, expected)
    assert out.err == ""
    line = out.out.strip()
    assert "\n" not in line
    assert "56 x 40 -> 224 x 160" in line
    network = r" [\d.]+ s, peak [\d.]+ [MG]B, \d+ % of windows attended"  # of this process
    assert re.search(network + r" \(ratio [\d.]+, which s-x4 recommends\)$", line)


def test_json_tells_the_facts(picture: Path, model: Path, tmp_path: Path) -> None:
    out, facts_file = tmp_path / "out.png", tmp_path / "facts.json"
    code = run(
        "upscale", picture, "-o", out, "--model", model, "--json", facts_file, "--attention-ratio", 0.25
    )
    assert code == 0
    facts = json.loads(facts_file.read_text())
    expected = {
        "input", "output", "scale", "model", "low_size", "high_size", "seconds", "peak_memory_bytes",
        "attention_share", "macs", "tiles", "device", "precision", "version",
    }  # fmt: skip
    assert expected <= set(facts)
    assert (facts["low_size"], facts["high_size"]) == ([56, 40], [112, 80])
    assert (facts["scale"], facts["tiles"], facts["precision"]) == (2, 1, "fp32")
    assert facts["attention_share"] == pytest.approx(0.25, abs=0.05)
    assert facts["macs"] > 1e6
    assert facts["version"] == camixersr.__version__


def test_a_route_map_is_a_picture(picture: Path, model: Path, tmp_path: Path) -> None:
    routes = tmp_path / "routes.png"
    assert run("upscale", picture, "-o", tmp_path / "o.png", "--model", model, "--route-map", routes) == 0
    assert read(routes).width >= 480


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".avif"])
def test_every_format_in_and_out(tmp_path: Path, model: Path, suffix: str) -> None:
    source = tmp_path / f"a{suffix}"
    Image.fromarray(noise_picture(20, 30)).save(source)
    assert run("upscale", source, "--model", model) == 0
    assert read(tmp_path / f"a_x2{suffix}").pixels.shape == (40, 60, 3)


def test_grey_stays_grey_and_alpha_stays(tmp_path: Path, model: Path) -> None:
    for mode, channels in (("L", 1), ("RGBA", 3)):
        source = tmp_path / f"{mode}.png"
        Image.fromarray(noise_picture(20, 30)).convert(mode).save(source)
        assert run("upscale", source, "--model", model) == 0
        result = read(tmp_path / f"{mode}_x2.png")
        assert result.pixels.shape == (40, 60, channels)
        assert (result.alpha is not None) == (mode == "RGBA")


def test_a_format_that_cannot_be_written_becomes_png(tmp_path: Path, model: Path) -> None:
    Image.fromarray(noise_picture(20, 30)).save(tmp_path / "a.bmp")
    Image.fromarray(noise_picture(20, 30)).save(tmp_path / "b.gif")
    assert run("upscale", tmp_path / "b.gif", "--model", model) == 0
    assert (tmp_path / "b_x2.png").is_file()


def test_several_pictures_go_into_a_folder_and_one_bad_one_stops_nothing(
    picture: Path, model: Path, tmp_path: Path, capsys
) -> None:
    other, bad = tmp_path / "b.png", tmp_path / "bad.png"
    Image.fromarray(noise_picture(16, 16)).save(other)
    bad.write_text("no picture")
    out, facts = tmp_path / "out", tmp_path / "facts.json"
    code = run("upscale", picture, bad, other, "-o", out, "--model", model, "--json", facts)
    assert code == 3
    assert files(out) == {"a_x2.png", "b_x2.png"}
    assert [Path(each["input"]).name for each in json.loads(facts.read_text())] == ["a.png", "b.png"]
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert "bad.png" in errors[0]
    assert "1 of 3 pictures failed" in errors[1]


def test_nothing_is_overwritten_unless_asked(picture: Path, model: Path, capsys) -> None:
    target = picture.with_name("a_x2.png")
    target.write_text("precious")
    assert run("upscale", picture, "--model", model) == 3
    assert target.read_text() == "precious"
    assert "--overwrite" in capsys.readouterr().err
    assert run("upscale", picture, "--model", model, "--overwrite") == 0
    assert read(target).width == 112


def test_the_input_itself_is_never_a_target(picture: Path, model: Path) -> None:
    before = picture.read_bytes()
    assert run("upscale", picture, "-o", picture, "--model", model, "--overwrite") == 3
    assert picture.read_bytes() == before


def test_two_inputs_of_one_name_are_noticed_before_anything_is_computed(
    picture: Path, model: Path, tmp_path: Path, capsys
) -> None:
    (tmp_path / "sub").mkdir()
    twin = tmp_path / "sub" / "a.png"
    Image.fromarray(noise_picture(8, 8)).save(twin)
    assert run("upscale", picture, twin, "-o", tmp_path / "out", "--model", model) == 2
    assert "both" in capsys.readouterr().err


def bad_inputs(tmp_path: Path, picture: Path, model: Path) -> dict[str, tuple[list[object], int]]:
    """Command lines that must fail, each with its exit code."""
    text, cut, empty = tmp_path / "text.png", tmp_path / "cut.png", tmp_path / "empty.png"
    text.write_text("this is no picture\n")
    cut.write_bytes(picture.read_bytes()[: picture.stat().st_size // 2])
    empty.write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    with_model = ["--model", model]
    return {
        "missing file": (["upscale", tmp_path / "nothing.png", *with_model], 3),
        "folder as input": (["upscale", tmp_path / "folder.png", *with_model], 3),
        "text named .png": (["upscale", text, *with_model], 3),
        "truncated": (["upscale", cut, *with_model], 3),
        "0 bytes": (["upscale", empty, *with_model], 3),
        "target in a missing folder": (
            ["upscale", picture, "-o", tmp_path / "no" / "a.png", *with_model],
            3,
        ),
        "target below a file": (["upscale", picture, "-o", text / "a.png", *with_model], 3),
        "target without a known suffix": (["upscale", picture, "-o", tmp_path / "a.xyz", *with_model], 3),
        "route map in a missing folder": (
            [
                "upscale",
                picture,
                "-o",
                tmp_path / "o.png",
                "--route-map",
                tmp_path / "no" / "r.png",
                *with_model,
            ],
            3,
        ),
        "unknown model": (["upscale", picture, "--model", "nonsense"], 2),
        "picture as model": (["upscale", picture, "--model", picture], 3),
        "scale that the model lacks": (["upscale", picture, "--scale", 3, *with_model], 2),
        "scale without a model": (["upscale", picture, "--scale", 7], 2),
        "ratio above 1": (["upscale", picture, "--attention-ratio", 1.5, *with_model], 2),
        "ratio below 0": (["upscale", picture, "--attention-ratio=-0.1", *with_model], 2),
        "ratio no number": (["upscale", picture, "--attention-ratio", "much", *with_model], 2),
        "ratio nan": (["upscale", picture, "--attention-ratio", "nan", *with_model], 2),
        "tile no number": (["upscale", picture, "--tile", "big", *with_model], 2),
        "tile too small": (["upscale", picture, "--tile", 16, *with_model], 2),
        "unknown device": (["upscale", picture, "--device", "tpu", *with_model], 2),
        "unknown option": (["upscale", picture, "--sharpen", *with_model], 2),
        "no input": (["upscale"], 2),
        "unknown command": (["enlarge", picture], 2),
        "unknown model to show": (["models", "show", "nonsense"], 2),
        "unknown model to pull": (["models", "pull", "nonsense"], 2),
        "checkpoint to convert is missing": (
            ["models", "convert", tmp_path / "no", tmp_path / "o.safetensors"],
            3,
        ),
        "recipe is missing": (["train", tmp_path / "no.toml"], 3),
    }


def test_bad_input_is_one_line_an_exit_code_and_no_file(
    tmp_path: Path, picture: Path, model: Path, capsys
) -> None:
    for name, (arguments, code) in bad_inputs(tmp_path, picture, model).items():
        before = files(tmp_path)
        assert run(*arguments) == code, name
        out = capsys.readouterr()
        assert len(out.err.strip().splitlines()) == 1, (name, out.err)
        assert out.err.startswith("camixersr: "), name
        assert "Traceback" not in out.err, name
        assert files(tmp_path) == before, name


@pytest.mark.parametrize("more", [[], ["--memory", "2GB"]], ids=["in memory", "streamed"])
@pytest.mark.parametrize("kept", [0.5, 0.999])
def test_a_cut_jpeg_is_refused_or_salvaged(
    tmp_path: Path, model: Path, more: list[str], kept: float, capsys
) -> None:
    source, out = tmp_path / "a.jpg", tmp_path / "o.png"
    Image.fromarray(noise_picture(64, 96)).save(source)
    whole = source.read_bytes()
    source.write_bytes(whole[: int(kept * len(whole))])
    given = ["upscale", source, "-o", out, "--model", model, *more]
    assert run(*given) == 3
    said = capsys.readouterr().err
    assert "not whole" in said
    assert "--salvage" in said
    assert not out.exists()
    assert run(*given, "--salvage") == 0
    assert "what is missing of it is grey" in capsys.readouterr().err
    assert read(out).pixels.shape == (128, 192, 3)


@pytest.mark.parametrize("arguments", [
    ["in.png", "-o", "LONG.png"], ["in.png", "--name", "{stem}LONG"], ["in.png", "--json", "LONG.json"],
    ["in.png", "--route-map", "LONG.png"], ["LONG.png"], ["in.png", "-o", "o.png", "--spill", "LONG"],
    ["in.png", "-o", "LONG/"], ["LONG/*.png"], ["in.png", "--model", "LONG.safetensors"],
], ids=" ".join)  # fmt: skip
def test_names_that_are_too_long_are_one_line(
    picture: Path, model: Path, arguments: list[str], capsys
) -> None:
    """A name may have 255 bytes."""
    place = picture.parent
    before = files(place)
    given = [each.replace("LONG", "n" * 256) for each in arguments]
    if "{stem}" not in " ".join(given):
        given = [each if each.startswith("-") else str(place / each) for each in given]
    given = [str(picture) if each.endswith("in.png") else each for each in given]
    if "--model" not in given:
        given += ["--model", str(model)]
    assert run("upscale", *given) == 3
    said = capsys.readouterr().err
    assert "too long" in said
    assert len(said.splitlines()) == 1
    assert files(place) == before


def test_debug_shows_the_traceback(tmp_path: Path, model: Path) -> None:
    with pytest.raises(camixersr.CamixerError, match="nothing"):
        main(["upscale", str(tmp_path / "nothing.png"), "--model", str(model), "--debug"])


def test_help_answers_at_once_without_torch() -> None:
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "camixersr", "--help"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "upscale" in result.stdout
    imported = {line.rsplit("|", 1)[-1].strip() for line in result.stderr.splitlines() if "|" in line}
    assert imported.isdisjoint({"torch", "numpy", "pyvips", "lightning"})


def test_version_is_printed(capsys) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.strip() == camixersr.__version__


def test_models_list_names_all_even_into_a_pipe(capsys) -> None:
    assert run("models", "list") == 0
    out = capsys.readouterr().out
    from camixersr.catalogue import names

    assert len(out.splitlines()) == 1 + len(names()), "no line is wrapped"
    assert all(any(line.startswith(name + " ") for line in out.splitlines()) for name in names())


def test_what_a_file_tells_of_its_model_brings_no_escape_codes(tmp_path: Path, capsys) -> None:
    """They could repaint the terminal, or type into it."""
    evil = "\x1b]0;title\x07\x1b[2J"
    told = Model(f"a{evil}", random_network(), provenance={evil: evil}, scores={evil: evil})
    save(tmp_path / "a.safetensors", told)
    for more in ([], ["--json"]):
        assert run("models", "show", tmp_path / "a.safetensors", *more) == 0
        said = capsys.readouterr()
        assert "title" in said.out
        assert "\x1b" not in said.out + said.err
        assert "\x07" not in said.out + said.err


def test_models_show_as_text_and_as_json(model: Path, capsys) -> None:
    assert run("models", "show", model) == 0
    assert "parameters:" in capsys.readouterr().out
    assert run("models", "show", model, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["config"]["channels"] == 8
    assert len(facts["sha256"]) == 64


def test_an_official_checkpoint_is_converted_and_used(tmp_path: Path, picture: Path) -> None:
    source, target = shared("official/CAMixerSR_S.pth"), tmp_path / "s.safetensors"
    assert run("models", "convert", source, target) == 0
    assert run("models", "convert", source, target) == 3  # exists
    assert run("models", "convert", source, tmp_path / "s.bin") == 2
    one, two = tmp_path / "1.png", tmp_path / "2.png"
    assert run("upscale", picture, "--model", source, "-o", one) == 0
    assert run("upscale", picture, "--model", target, "-o", two) == 0
    assert one.read_bytes() == two.read_bytes()


def test_ctrl_c_leaves_no_file(picture: Path, model: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    from camixersr.cli.bars import Bars

    def interrupt(self: object, done: int, total: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Bars, "__call__", interrupt)
    before = files(tmp_path)
    assert run("upscale", picture, "--model", model, "--json", tmp_path / "f.json") == 130
    assert capsys.readouterr().err == "camixersr: interrupted; nothing was left half-written\n"
    assert files(tmp_path) == before


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_an_end_from_outside_leaves_no_file(
    picture: Path, model: Path, tmp_path: Path, monkeypatch, capsys, name: str
) -> None:
    from camixersr.cli.bars import Bars

    number = getattr(signal, name)

    def terminate(self: object, done: int, total: int) -> None:
        signal.raise_signal(number)

    monkeypatch.setattr(Bars, "__call__", terminate)
    before, handler = files(tmp_path), signal.getsignal(number)
    assert run("upscale", picture, "--model", model) == 128 + number
    assert capsys.readouterr().err == "camixersr: terminated; nothing was left half-written\n"
    assert files(tmp_path) == before
    assert signal.getsignal(number) is handler


def test_a_closing_terminal_is_ignored_where_nohup_says_so(picture: Path, model: Path, monkeypatch) -> None:
    from camixersr.cli.bars import Bars

    monkeypatch.setattr(Bars, "begin", lambda self, name: signal.raise_signal(signal.SIGHUP))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run("upscale", picture, "--model", model) == 0
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal to speak to")
def test_results_go_to_standard_output_though_a_bar_is_on_the_terminal(
    picture: Path, model: Path, tmp_path: Path
) -> None:
    """As in `camixersr upscale a b > out.txt`: standard error is a terminal, standard output is not."""
    other, out = tmp_path / "b.png", tmp_path / "out"
    Image.fromarray(noise_picture(16, 16)).save(other)
    ours, terminal = os.openpty()
    command = [sys.executable, "-m", "camixersr", "upscale", picture, other, "-o", out, "--model", model]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=terminal, text=True) as running:
        os.close(terminal)
        shown = b""
        while part := _read_terminal(ours):
            shown += part
        assert running.stdout is not None
        lines = running.stdout.read().splitlines()
    os.close(ours)
    assert running.returncode == 0
    assert [line.split(": ")[0] for line in lines] == [str(out / "a_x2.png"), str(out / "b_x2.png")]
    assert "all pictures" in shown.decode()
    assert "_x2.png" not in shown.decode()


def _read_terminal(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # nobody writes there any more
        return b""


@pytest.mark.skipif(sys.platform != "linux", reason="OpenMP's words differ")
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "OMP_WAIT_POLICY = 'PASSIVE'"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "OMP_WAIT_POLICY = 'ACTIVE'"),
        ({"GOMP_SPINCOUNT": "7"}, "GOMP_SPINCOUNT = '7'"),
    ],
)
def test_waiting_threads_sleep_unless_the_user_says_otherwise(
    picture: Path, model: Path, given: dict[str, str], said: str
) -> None:
    """OpenMP itself tells what it was told, when torch loads it."""
    kept = {name: value for name, value in os.environ.items() if name[:4] not in ("OMP_", "GOMP")}
    ended = subprocess.run(
        [sys.executable, "-m", "camixersr", "upscale", picture, "--model", model, "--backend", "torch"],
        env=kept | {"OMP_DISPLAY_ENV": "VERBOSE"} | given,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said in ended.stderr


def test_further_frames_are_not_dropped_in_silence(tmp_path: Path, model: Path, capsys) -> None:
    frames = [Image.fromarray(noise_picture(16, 16, seed=seed)) for seed in range(3)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:])
    assert run("upscale", tmp_path / "a.webp", "--model", model) == 0
    assert "first of 3 pages" in capsys.readouterr().err
    with Image.open(tmp_path / "a_x2.webp") as result:
        assert (result.n_frames, result.size) == (1, (32, 32))


def test_threads_of_torch_are_left_alone(picture: Path, model: Path) -> None:
    before = torch.get_num_threads()
    run("upscale", picture, "--model", model)
    assert torch.get_num_threads() == before


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A picture that is streamed, in four tiles of 320."""
    path = tmp_path / "large.png"
    Image.fromarray(noise_picture(560, 520)).save(path)
    return path


def test_a_large_picture_is_streamed_and_says_what_it_needs(large: Path, model: Path, capsys) -> None:
    facts_file, routes = large.with_name("facts.json"), large.with_name("r.png")
    options = ["--model", model, "--tile", 320, "--json", facts_file, "--route-map", routes]
    assert run("upscale", large, *options) == 0
    out = capsys.readouterr()
    assert "large.png: 520 x 560 -> 1040 x 1120, tiles of up to 320 x 320, at most" in out.err
    assert out.err.count("\n") == 1
    facts = json.loads(facts_file.read_text())
    assert (facts["tile"], facts["tiles"], facts["resumed_tiles"]) == (320, 4, 0)
    assert facts["predicted_memory_bytes"] > facts["peak_memory_bytes"] / 4
    expected = camixersr.load(str(model), device="cpu", tile=320).upscale(noise_picture(560, 520))
    assert np.array_equal(read(large.with_name("large_x2.png")).pixels, expected)
    assert read(routes).width >= 480
    assert not [each for each in files(large.parent) if each.startswith(".")]


def test_budgets_are_kept_and_told(large: Path, model: Path, capsys) -> None:
    target, facts = large.with_name("o.png"), large.with_name("f.json")
    options = ["-o", target, "--model", model, "--json", facts, "--overwrite"]
    assert run("upscale", large, *options, "--max-share", 0.1) == 0
    assert 0.05 < json.loads(facts.read_text())["attention_share"] <= 0.1
    assert run("upscale", large, *options, "--seconds", 500) == 0
    assert json.loads(facts.read_text())["attention_ratio"] == 1.0
    assert run("upscale", large, *options, "--memory", "64GB") == 0
    assert json.loads(facts.read_text())["tile"] == 0  # no larger than what a tile computes: in one piece
    assert run("upscale", large, *options, "--memory", "64GB", "--tile", "128") == 0
    assert json.loads(facts.read_text())["tile"] == 128


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--memory", "50MB"], 1, "50 MB of memory do not suffice: the smallest tile needs"),
        (["--memory", "much"], 2, "--memory must be a size such as 2GB"),
        (["--max-share", "2"], 2, "--max-share must lie in [0, 1], got 2"),
        (["--seconds", "0"], 2, "--seconds must be positive, got 0"),
        (["--spill", "nowhere"], 2, "--spill must be a folder that exists"),
    ],
)
def test_budgets_that_cannot_be_are_one_line(large: Path, model: Path, capsys, options, code, said) -> None:
    before = files(large.parent)
    assert run("upscale", large, "--model", model, *options) == code
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert files(large.parent) == before


def megabytes(said: str) -> list[float]:
    """The amounts of memory in a text."""
    return [
        float(number) * (1000 if unit == "G" else 1)
        for number, unit in re.findall(r"([\d.]+) ([MG])B", said)
    ]


def test_what_is_said_of_memory_can_be_granted(large: Path, model: Path, capsys) -> None:
    """What was granted is told as it was written, and what is asked for suffices when it is granted."""
    assert run("upscale", large, "--model", model, "--memory", "200MB") == 1
    granted, needed = megabytes(capsys.readouterr().err)
    assert granted == 200
    assert needed > 200
    allowed = int(1.05 * needed) + 60  # gigabytes are told in tenths, and this process has grown a little
    assert run("upscale", large, "--model", model, "--memory", f"{allowed}MB") == 0
    assert (
        megabytes(re.search(r"at most [^,;]* of memory", capsys.readouterr().err)[0])[0] <= 1.05 * allowed
    )


def test_a_large_picture_that_ends_early_leaves_nothing(large: Path, model: Path, capsys) -> None:
    large.write_bytes(large.read_bytes()[:-20_000])
    before = files(large.parent)
    assert run("upscale", large, "--model", model) == 3
    assert "damaged or truncated" in capsys.readouterr().err
    assert files(large.parent) == before


LIMITED = """
import resource, sys
from camixersr.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
main(sys.argv[1:])
"""


SMALL = """
import resource, sys
from camixersr.cli import main
limit = int(sys.argv.pop(1)) * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
main(sys.argv[1:])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of the address space")
@pytest.mark.parametrize(
    ("megabytes", "backend"), [(50, "auto"), (150, "auto"), (150, "torch"), (400, "torch")]
)
def test_too_little_memory_to_start_is_one_line(
    picture: Path, model: Path, megabytes: int, backend: str
) -> None:
    before = files(picture.parent)
    command = ["upscale", str(picture), "--model", str(model), "--backend", backend]
    ended = subprocess.run(
        [sys.executable, "-c", SMALL, str(megabytes), *command],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("camixersr: ")
    assert "memory" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert files(picture.parent) == before


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX limits")
def test_a_disk_that_takes_no_more_is_one_line(large: Path, model: Path) -> None:
    before = files(large.parent)
    ended = subprocess.run(
        [sys.executable, "-c", LIMITED, "upscale", str(large), "--model", str(model)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 3
    assert (
        ended.stderr.splitlines()[-1].endswith(
            "File too large; make room, or name a folder on another disk with --spill"
        )
        or "cannot be used: File too large" in ended.stderr
    )
    assert "Traceback" not in ended.stderr
    assert files(large.parent) == before


def _kill_and_resume(source: Path, model: Path, moments: list[float], extra: list[str]) -> int:
    """SIGKILL a job at some moments (seconds after it recorded a tile), resuming each time."""
    target = source.with_name("killed.png")
    command = [sys.executable, "-m", "camixersr", "upscale", str(source), "-o", str(target)]
    command += ["--model", str(model), "--device", "cpu", "--resume", *extra]
    journal = target.with_name(f".{target.name}.camixersr") / "journal"

    def recorded() -> int:
        return journal.stat().st_size if journal.exists() else 0

    kills = 0
    for moment in moments:
        before = recorded()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and recorded() <= before:
            time.sleep(0.002)
        time.sleep(moment)
        process.kill()
        if process.wait() == 0:
            break  # it was faster
        kills += 1
        if target.exists():
            break  # between the result's renaming and the end
        assert journal.exists()
    if not target.exists():
        assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    return kills


def test_a_killed_job_resumes_to_the_same_bytes(large: Path, model: Path) -> None:
    whole = large.with_name("whole.png")
    assert run("upscale", large, "-o", whole, "--model", model, "--device", "cpu", "--tile", 96) == 0
    _kill_and_resume(large, model, [0.0, 0.1], ["--tile", "96"])
    assert large.with_name("killed.png").read_bytes() == whole.read_bytes()


@pytest.mark.slow
def test_a_job_of_forty_tiles_survives_twenty_kills(large: Path, model: Path) -> None:
    whole = large.with_name("whole.png")
    options = ["--tile", "80", "--device", "cpu", "--model", str(model)]
    assert run("upscale", large, "-o", whole, *options) == 0
    chance = random.Random(5)
    kills = 0
    while kills < 20:
        kills += _kill_and_resume(large, model, [0.2 * chance.random() for _ in range(20)], options[:2])
        assert large.with_name("killed.png").read_bytes() == whole.read_bytes()
        large.with_name("killed.png").unlink()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_stopped_large_job_leaves_nothing(large: Path, model: Path, number: int, code: int) -> None:
    command = [
        sys.executable,
        "-m",
        "camixersr",
        "upscale",
        str(large),
        "--model",
        str(model),
        "--tile",
        "64",
    ]
    before = files(large.parent)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    journal = large.with_name(".large_x2.png.camixersr") / "journal"
    while process.poll() is None and not (journal.exists() and journal.stat().st_size):
        time.sleep(0.005)
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == code
    assert err.splitlines()[-1].endswith("nothing was left half-written")
    assert files(large.parent) == before


def test_what_cannot_be_streamed_is_said_if_streaming_is_needed(
    model: Path, tmp_path: Path, capsys
) -> None:
    source = tmp_path / "a.png"
    Image.fromarray(noise_picture(40, 40)).convert("RGBA").save(source)
    assert run("upscale", source, "--model", model, "--memory", "2GB") == 2
    said = capsys.readouterr().err
    assert "--memory is for pictures that are computed in tiles from the disk; transparency" in said
    assert files(tmp_path) == {"a.png", model.name}
    assert run("upscale", source, "--model", model, "--max-share", 0.2) == 0


def test_a_large_picture_among_others_is_streamed_and_the_folder_resumes(
    large: Path, picture: Path, model: Path, tmp_path: Path, capsys
) -> None:
    out, facts = tmp_path / "out", tmp_path / "f.json"
    options = ["--model", model, "--tile", 320, "--json", facts]
    assert run("upscale", large, picture, "-o", out, *options) == 0
    told = {Path(each["input"]).name: each for each in json.loads(facts.read_text())}
    assert (told["large.png"]["tile"], told["large.png"]["tiles"]) == (320, 4)
    assert "tile" not in told["a.png"]
    assert {"large_x2.png", "a_x2.png"} <= files(out)


def test_top_share_spends_the_same_on_a_plain_and_a_busy_picture(tmp_path: Path) -> None:
    plain = np.full((64, 64, 3), 120, np.uint8)
    plain[:2, :2] = 130
    Image.fromarray(plain).save(tmp_path / "plain.png")
    busy = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(busy).save(tmp_path / "busy.png")
    shares: dict[tuple[str, str], float] = {}
    for routing, name in itertools.product(("auto", "top-share"), ("plain", "busy")):
        facts = tmp_path / f"{routing}-{name}.json"
        source, target = tmp_path / f"{name}.png", tmp_path / f"{routing}-{name}.png"
        options = ["-o", target, "--model", "s-x4", "--routing", routing, "--json", facts]
        options += ["--attention-ratio", 0.5]
        assert run("upscale", source, *options) == 0
        shares[routing, name] = json.loads(facts.read_text())["attention_share"]
    assert shares["auto", "plain"] < 0.2 < 0.5 < shares["auto", "busy"]
    assert shares["top-share", "plain"] == shares["top-share", "busy"] == 0.5
