"""No result replaces a file that somebody may want: another's result, an input, the facts, a model."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from camixersr.weights import Model, save
from tests.conftest import noise_picture, random_network, run


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save(path, Model("tiny", random_network(channels=8, scale=2, blocks=(1,))))
    return path


def picture(path: Path, *, seed: int = 0, size: int = 16) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise_picture(size, size, seed=seed)).save(path)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*") if each.is_file()
    }


RECORD = "camixersr.jsonl"


# results of other inputs


@pytest.mark.parametrize("option", [None, "--resume", "--overwrite", "--skip-existing"])
def test_a_result_of_another_folders_picture_is_never_replaced(
    tmp_path: Path, model: Path, capsys, option: str | None
) -> None:
    """Cameras reuse names: two folders hold IMG_1.png."""
    picture(tmp_path / "monday" / "IMG_1.png", seed=1)
    picture(tmp_path / "tuesday" / "IMG_1.png", seed=2)
    picture(tmp_path / "tuesday" / "IMG_2.png", seed=3)
    out = tmp_path / "out"
    assert run("upscale", tmp_path / "monday", "-o", out, "--model", model) == 0
    before = (out / "IMG_1_x2.png").read_bytes()
    capsys.readouterr()
    options = [option] if option else []
    assert run("upscale", tmp_path / "tuesday", "-o", out, "--model", model, *options) == 3
    assert (out / "IMG_1_x2.png").read_bytes() == before
    assert (out / "IMG_2_x2.png").is_file(), "the others are made"
    said = capsys.readouterr().err
    assert f"was made from another picture, {tmp_path / 'monday' / 'IMG_1.png'}" in said
    # and the first folder's run is not led astray by what the second noted
    assert run("upscale", tmp_path / "monday", "-o", out, "--model", model, "--resume") == 0
    assert "1 of 1 pictures were there already" in capsys.readouterr().err


def test_a_folder_that_was_moved_or_edited_is_still_the_same(tmp_path: Path, model: Path, capsys) -> None:
    picture(tmp_path / "a" / "1.png", seed=1)
    picture(tmp_path / "a" / "2.png", seed=2)
    out = tmp_path / "out"
    assert run("upscale", tmp_path / "a", "-o", out, "--model", model) == 0
    (tmp_path / "a").rename(tmp_path / "b")
    capsys.readouterr()
    assert run("upscale", tmp_path / "b", "-o", out, "--model", model, "--resume") == 0
    assert "2 of 2 pictures were there already" in capsys.readouterr().err
    assert (
        run("upscale", tmp_path / "b", "-o", out, "--model", model, "--attention-ratio", 1, "--resume") == 0
    )
    picture(tmp_path / "b" / "1.png", seed=9)  # now known to lie here
    assert (
        run("upscale", tmp_path / "b", "-o", out, "--model", model, "--attention-ratio", 1, "--resume") == 0
    )
    said = capsys.readouterr()
    assert "1 of 2 pictures were there already" in said.err
    assert said.out.count("1_x2.png: ") == 2


def test_an_edit_that_is_taken_back_is_computed_again(tmp_path: Path, model: Path) -> None:
    """What the record says of a version of an input counts only while its result is the last one."""
    source, out = picture(tmp_path / "in" / "a.png", seed=1), tmp_path / "out"
    versions = []
    for seed in (1, 2, 1):
        picture(source, seed=seed)
        code = run(
            "upscale", source.parent, "-o", out, "--model", model, *(["--resume"] if versions else [])
        )
        assert code == 0
        versions.append((out / "a_x2.png").read_bytes())
    assert versions[0] == versions[2] != versions[1]


# one path for two things


def test_facts_and_route_maps_never_take_anothers_place(tmp_path: Path, model: Path, capsys) -> None:
    folder = tmp_path / "in"
    a, b = picture(folder / "a.png"), picture(folder / "b.bmp", seed=1)
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(model.read_bytes())
    (tmp_path / "link").symlink_to(folder)
    o, out = tmp_path / "o.png", tmp_path / "out"
    cases = [
        (a, "-o", o, "--json", o),
        (a, "-o", o, "--route-map", o),
        (a, "-o", o, "--json", tmp_path / "r", "--route-map", tmp_path / "r"),
        (a, "-o", o, "--json", a),
        (a, "-o", o, "--route-map", a),
        (a, "-o", o, "--json", tmp_path / "link" / "a.png"),
        (a, "-o", o, "--json", copy, "--model", copy),
        (a, "--json", folder / "a_x2.png"),
        (b, "--json", folder / "b_x2.png"),
        (b, "--json", folder / "b_x2.tif"),  # a suffix that the result may still get
        (a, b, "-o", out, "--json", b),
        (folder, "-o", out, "--json", out / RECORD),
        (folder, "-o", out, "--json", out / "a_x2.png"),
        (folder, "-o", out, "--route-map", out, "--name", "{stem}_routes", "--json", folder / "b.bmp"),
    ]
    before = contents(tmp_path)
    for arguments in cases:
        model_option = [] if "--model" in arguments else ["--model", model]
        for option in ([], ["--overwrite"]):
            assert run("upscale", *arguments, *model_option, *option) == 2, arguments
            said = capsys.readouterr().err
            assert said.count("\n") == 1, said
            assert "would be both" in said
            assert contents(tmp_path) == before


def test_an_input_is_no_place_for_a_result(tmp_path: Path, model: Path, capsys) -> None:
    """As in `camixersr upscale *.png`, run twice."""
    a = picture(tmp_path / "a.png")
    assert run("upscale", a, "--model", model) == 0
    names = sorted(tmp_path.glob("*.png"))
    before = contents(tmp_path)
    for option in ([], ["--overwrite"]):
        assert run("upscale", *names, "--model", model, *option) == 2
        assert "a_x2.png: would be both an input and the result of" in capsys.readouterr().err
        assert contents(tmp_path) == before
    picture(tmp_path / "b.png", seed=1)
    names = sorted(tmp_path.glob("*.png"))
    assert run("upscale", *names, "--model", model, "--skip-existing") == 0
    assert set(contents(tmp_path)) == {"a.png", "a_x2.png", "b.png", "b_x2.png"}


# a run's own results


@pytest.mark.parametrize("place", ["photos", "photos/big", "photos/sub", "photos_x2"])
@pytest.mark.parametrize("option", ["--resume", "--overwrite", "--skip-existing"])
def test_a_second_run_enlarges_none_of_its_own_results(
    tmp_path: Path, model: Path, capsys, place: str, option: str
) -> None:
    photos, out = tmp_path / "photos", tmp_path / place
    picture(photos / "a.png", seed=1)
    picture(photos / "sub" / "b.jpg", seed=2)
    picture(photos / "c.bmp", seed=3)
    arguments = ["upscale", photos, "-o", out, "--model", model]
    assert run(*arguments) == 0
    first = set(contents(tmp_path))
    assert run(*arguments, option) == 0
    assert set(contents(tmp_path)) == first
    # other names do not make other pictures of them
    assert run(*arguments, "--name", "{stem}-again", option) == 0
    added = {name for name in set(contents(tmp_path)) - first if not name.endswith(RECORD)}
    assert len(added) == 2 if place == "photos/sub" else 3  # there b.jpg lies in the folder of results
    # nor does a pattern
    assert run("upscale", photos / "**" / "*", *arguments[2:], option) == 0
    assert not [name for name in contents(tmp_path) if "x2_x2" in name or "again_x2" in name]


def test_results_of_an_earlier_run_elsewhere_in_the_folder_are_passed_over(
    tmp_path: Path, model: Path, capsys
) -> None:
    photos = tmp_path / "photos"
    picture(photos / "a.png")
    assert run("upscale", photos, "-o", photos / "big", "--model", model) == 0
    capsys.readouterr()
    assert run("upscale", photos, "-o", photos / "other", "--model", model) == 0
    assert "is the result of another picture here, and was passed over" in capsys.readouterr().err
    assert set(contents(photos / "other")) == {"a_x2.png", RECORD}
    # a folder of results by itself is a folder of pictures
    assert run("upscale", photos / "big", "-o", tmp_path / "bigger", "--model", model) == 0
    assert set(contents(tmp_path / "bigger")) == {"a_x2_x2.png", RECORD}


# what a resumed run tells


@pytest.mark.parametrize("device", ["cpu", "cpu,cpu"])
def test_a_resumed_run_tells_the_facts_of_all_and_has_all_route_maps(
    tmp_path: Path, model: Path, device: str
) -> None:
    for number in range(3):
        picture(tmp_path / "in" / f"{number}.png", seed=number)
    out, first, second = tmp_path / "out", tmp_path / "1.json", tmp_path / "2.json"
    common = ["upscale", tmp_path / "in", "-o", out, "--model", model, "--device", device]
    assert run(*common, "--json", first) == 0
    (out / "1_x2.png").unlink()
    assert run(*common, "--json", second, "--resume") == 0
    before, after = json.loads(first.read_text()), json.loads(second.read_text())
    assert [each["input"] for each in after] == [each["input"] for each in before]
    assert [after[0], after[2]] == [before[0], before[2]]
    if device != "cpu":
        return  # processes take long to start
    routes = tmp_path / "routes"
    assert run(*common, "--route-map", routes, "--resume") == 0
    assert set(contents(routes)) == {f"{number}_x2_routes.png" for number in range(3)}
    whole = contents(tmp_path)
    (routes / "1_x2_routes.png").unlink()
    assert run(*common, "--route-map", routes, "--resume") == 0
    again = contents(tmp_path)
    assert {name for name in whole if whole[name] != again[name]} == {f"out/{RECORD}"}


# what is no file


@pytest.mark.skipif(sys.platform == "win32", reason="needs pipes with names")
@pytest.mark.timeout(60)
def test_only_regular_files_are_read(tmp_path: Path, model: Path, capsys) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    picture(folder / "a.png")
    os.mkfifo(folder / "pipe.png")
    (folder / "zero.jpg").symlink_to("/dev/zero")
    (folder / "linked.png").symlink_to(picture(tmp_path / "elsewhere" / "b.png"))
    for inputs in (folder, folder / "*"):
        assert run("upscale", inputs, "-o", out, "--model", model, "--overwrite") == 0
        assert set(contents(out)) == {"a_x2.png", "linked_x2.png", RECORD}
        said = capsys.readouterr().err
        assert f"{folder / 'pipe.png'}: is a pipe, no regular file, and was passed over" in said
        assert f"{folder / 'zero.jpg'}: is a device" in said
    for name in ("pipe.png", "zero.jpg"):
        assert run("upscale", folder / name, "--model", model) == 3
        assert "expected a regular file" in capsys.readouterr().err


# where results go if nobody says


def test_a_folder_has_its_results_beside_it(tmp_path: Path, model: Path, monkeypatch) -> None:
    photos = tmp_path / "photos"
    picture(photos / "sub" / "a.png")
    assert run("upscale", photos, "--model", model) == 0
    assert set(contents(tmp_path / "photos_x2")) == {"sub/a_x2.png", RECORD}
    assert run("upscale", photos / "**" / "*.png", "--model", model, "-s", 1.5) == 0
    assert set(contents(tmp_path / "photos_x1.5")) == {"sub/a_x1.5.png", RECORD}
    monkeypatch.chdir(photos)
    assert run("upscale", ".", "--model", model, "--resume") == 0
    assert set(contents(tmp_path)) == {
        "photos/sub/a.png",
        *(f"photos_{size}/{name}" for size in ("x2", "x1.5") for name in (f"sub/a_{size}.png", RECORD)),
    }
    assert run("upscale", photos, photos / "sub", "--model", model) == 2


def test_a_place_is_a_folder_if_it_ends_so_or_must_be_one(tmp_path: Path, model: Path) -> None:
    a, b = picture(tmp_path / "a.png"), picture(tmp_path / "b.png")
    assert run("upscale", a, "-o", f"{tmp_path}/new/deep/", "--model", model) == 0
    assert set(contents(tmp_path / "new")) == {"deep/a_x2.png"}
    assert (
        run("upscale", a, "-o", f"{tmp_path}/v2.0/", "--route-map", f"{tmp_path}/m/", "--model", model) == 0
    )
    assert set(contents(tmp_path / "m")) == {"a_x2_routes.png"}
    assert run("upscale", a, b, "-o", tmp_path / "out0.5", "--model", model) == 0
    assert set(contents(tmp_path / "out0.5")) == {"a_x2.png", "b_x2.png"}
    assert run("upscale", a, b, "-o", tmp_path / "one.png", "--model", model) == 2
    assert run("upscale", a, b, "-o", a, "--model", model) == 2


def test_a_picture_alone_is_short_for_upscale(tmp_path: Path, model: Path, monkeypatch, capsys) -> None:
    picture(tmp_path / "photo.png")
    assert run(tmp_path / "photo.png", "--model", model) == 0
    assert (tmp_path / "photo_x2.png").is_file()
    assert run(tmp_path / "*.png", "-o", tmp_path / "out", "--model", model) == 0
    assert run(tmp_path / "missing.png", "--model", model) == 3
    assert run("missing") == 2
    assert capsys.readouterr().err.count("\n") == 2
    # a command of that name comes first
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "models" / "photo.png")
    assert run("models", "list") == 0


def test_a_shortcut_keeps_help_quick() -> None:
    shown = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "camixersr", "upscale", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rsplit("|", 1)[-1].strip() for line in shown.stderr.splitlines() if "|" in line}
    assert imported.isdisjoint({"torch", "numpy", "pyvips"})
