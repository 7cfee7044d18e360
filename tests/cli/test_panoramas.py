import json
from pathlib import Path

import numpy as np
import pytest
import pyvips
from PIL import Image

from camixersr.cli import main
from camixersr.weights import Model, save
from tests.conftest import noise_picture, random_network

XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:GPano="http://ns.google.com/photos/1.0/panorama/" '
    'GPano:ProjectionType="{kind}" GPano:FullPanoWidthPixels="128" GPano:FullPanoHeightPixels="64" '
    'GPano:CroppedAreaImageWidthPixels="128" GPano:CroppedAreaImageHeightPixels="{rows}" '
    'GPano:CroppedAreaLeftPixels="0" GPano:CroppedAreaTopPixels="{top}"/></rdf:RDF></x:xmpmeta>'
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    save(path, Model("tiny", random_network(channels=12, scale=2, blocks=(1,))))
    return path


def panorama(path: Path, rows: int = 64, *, kind: str = "equirectangular", top: int = 0) -> Path:
    picture = noise_picture(rows, 128)
    image = pyvips.Image.new_from_memory(picture.tobytes(), 128, rows, 3, "uchar")
    image = image.copy(interpretation="srgb")
    image.set_type(pyvips.GValue.blob_type, "xmp-data", XMP.format(kind=kind, rows=rows, top=top).encode())
    image.pngsave(str(path))
    return path


def upscale(source: Path, target: Path, model: Path, *more: str) -> dict[str, object]:
    facts = target.with_suffix(".json")
    with pytest.raises(SystemExit) as end:
        main(
            ["upscale", str(source), "-o", str(target), "--model", str(model), "--json", str(facts), *more]
        )
    assert end.value.code == 0
    return json.loads(facts.read_text())


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_a_picture_that_says_so_is_enlarged_as_a_panorama(tmp_path: Path, model: Path) -> None:
    source = panorama(tmp_path / "p.png")
    facts = upscale(source, tmp_path / "auto.png", model)
    assert facts["projection"] == "erp"
    assert upscale(source, tmp_path / "flat.png", model, "--projection", "flat")["projection"] == "flat"
    assert upscale(source, tmp_path / "erp.png", model, "--projection", "erp")["projection"] == "erp"
    assert np.array_equal(pixels(tmp_path / "auto.png"), pixels(tmp_path / "erp.png"))
    assert not np.array_equal(pixels(tmp_path / "auto.png"), pixels(tmp_path / "flat.png"))
    for name in ("auto", "flat"):  # a panorama remains one, however it was enlarged
        xmp = pyvips.Image.new_from_file(str(tmp_path / f"{name}.png")).get("xmp-data").decode()
        for tag in ("FullPanoWidthPixels", "CroppedAreaImageWidthPixels"):
            assert f'GPano:{tag}="256"' in xmp


def test_a_streamed_panorama_is_the_panorama(tmp_path: Path, model: Path) -> None:
    for name, rows, top in (("whole", 64, 0), ("band", 40, 12), ("cap", 40, 0)):
        source = panorama(tmp_path / f"{name}.png", rows, top=top)
        upscale(source, tmp_path / f"{name}-held.png", model)
        facts = upscale(source, tmp_path / f"{name}-streamed.png", model, "--memory", "4GB")
        assert facts["projection"] == "erp"
        assert "predicted_memory_bytes" in facts
        held, streamed = (pixels(tmp_path / f"{name}-{how}.png") for how in ("held", "streamed"))
        assert np.array_equal(held, streamed)


@pytest.mark.parametrize("more", [(), ("--memory", "4GB")])
def test_what_is_no_panorama_is_refused_in_one_line(
    tmp_path: Path, model: Path, more: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    cube = panorama(tmp_path / "cube.png", kind="cubemap")
    flat = tmp_path / "flat.png"
    Image.fromarray(noise_picture(30, 40)).save(flat)
    for source, words in ((cube, "'cubemap'"), (flat, "twice as wide as high, got 40 x 30")):
        target = tmp_path / "result.png"
        arguments = ["upscale", str(source), "-o", str(target), "--model", str(model), *more]
        with pytest.raises(SystemExit) as end:
            main([*arguments, "--projection", "erp"])
        assert end.value.code == 3
        said = capsys.readouterr().err
        assert words in said
        assert said.count("\n") == 1
        assert not target.exists()


def test_views_of_a_panorama(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, other = panorama(tmp_path / "p.png"), tmp_path / "q.png"
    Image.fromarray(noise_picture(32, 64)).save(other)
    command = ["viewports", str(source), "-o", str(tmp_path / "views"), "--compare", str(other)]
    with pytest.raises(SystemExit) as end:
        main([*command, "--side", "40"])
    assert end.value.code == 0
    views = sorted(path.name for path in (tmp_path / "views").iterdir())
    assert views == ["back.png", "down.png", "front.png", "left.png", "right.png", "up.png"]
    assert pixels(tmp_path / "views" / "back.png").shape == (40, 80, 3)
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main(command)
    assert end.value.code == 3
    assert "--overwrite" in capsys.readouterr().err
    Image.fromarray(noise_picture(30, 40)).save(other)
    with pytest.raises(SystemExit) as end:
        main([*command, "--overwrite"])
    assert end.value.code == 3
    assert "twice as wide as high" in capsys.readouterr().err


def test_panoramas_can_be_scored_as_cameras_see_them(tmp_path: Path, model: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    panorama(folder / "p.png")
    command = ["evaluate", "--model", str(model), "--data", str(folder), "--attention-ratio", "1"]
    scores: dict[str, float] = {}
    ways = {"bicubic": "bicubic", "closed": "as a sphere", "fisheye": "fisheye"}
    for reduction, said in ways.items():
        facts = tmp_path / f"{reduction}.json"
        with pytest.raises(SystemExit) as end:
            main([*command, "--protocol", "erp", "--reduction", reduction, "--json", str(facts)])
        assert end.value.code == 0
        result = json.loads(facts.read_text())
        assert said in result["protocol"]["low_images"]["set"]
        scores[reduction] = result["rows"][0]["psnr"]
    assert len(set(scores.values())) == 3
    with pytest.raises(SystemExit) as end:
        main([*command, "--reduction", "fisheye"])
    assert end.value.code == 2
