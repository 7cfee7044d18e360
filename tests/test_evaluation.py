"""Evaluation: sets good and bad, protocols, and the numbers in table, JSON and CSV."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from camixersr.cli.evaluate import _print
from camixersr.data import open_set
from camixersr.errors import ImageError, InputError, UsageError
from camixersr.evaluation import PUBLISHED_BICUBIC, evaluate, paper_tiles, protocol_facts, row_facts
from camixersr.image.resize import resize
from camixersr.metrics import luma, ssim, ws_psnr
from camixersr.tensors import from_array, to_array
from camixersr.weights import Model, save
from tests.conftest import TensorComputer, noise_picture, random_network, run, shared


def upscaler(scale: int = 2) -> TensorComputer:
    return TensorComputer(Model("tiny", random_network(channels=8, scale=scale, blocks=(1,))), device="cpu")


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A set of two pictures at x2, one of odd size."""
    folder = tmp_path / "mine" / "x2"
    for part in ("high", "low"):
        (folder / part).mkdir(parents=True)
    for name, (height, width) in {"a": (40, 60), "b": (41, 63)}.items():
        high = noise_picture(height, width)
        Image.fromarray(high).save(folder / "high" / f"{name}.png")
        low = resize(high[: height // 2 * 2, : width // 2 * 2], height=height // 2, width=width // 2)
        Image.fromarray(low).save(folder / "low" / f"{name}.png")
    return folder


def test_scores_are_those_of_the_definition(pairs: Path) -> None:
    up = upscaler()
    rows, problems = evaluate([up], open_set(pairs), attention_ratios=[0.0, 1.0])
    assert problems == []
    assert [(row.set, row.model, row.attention_ratio) for row in rows] == [
        ("mine", "bicubic", None), ("mine", "tiny", 0.0), ("mine", "tiny", 1.0),
    ]  # fmt: skip
    for row in rows:
        expected_psnr, expected_ssim = [], []
        for name in ("a", "b"):
            low = np.asarray(Image.open(pairs / "low" / f"{name}.png"))
            high = np.asarray(Image.open(pairs / "high" / f"{name}.png"))
            high = high[: 2 * low.shape[0], : 2 * low.shape[1]]
            if row.attention_ratio is None:
                result = resize(low, height=high.shape[0], width=high.shape[1])
            else:
                result = to_array(up.run(from_array(low), attention_ratio=row.attention_ratio).high)
            one, two = luma(result), luma(high)
            expected_psnr.append(peak_signal_noise_ratio(two[2:-2, 2:-2], one[2:-2, 2:-2], data_range=255))
            expected_ssim.append(ssim(one, two, border=2))
        assert row.psnr == pytest.approx(np.mean(expected_psnr), abs=1e-6)
        assert row.ssim == pytest.approx(np.mean(expected_ssim), abs=1e-6)
    assert rows[1].images[0].attention_share == 0.0
    assert rows[2].images[0].attention_share == 1.0
    assert rows[2].images[0].macs > rows[1].images[0].macs > 0


def test_protocols_differ_as_they_say(tmp_path: Path) -> None:
    pairs = tmp_path / "panoramas"
    for part, height in (("low", 20), ("high", 40)):
        (pairs / part).mkdir(parents=True)
        Image.fromarray(noise_picture(height, 2 * height)).save(pairs / part / "a.png")
    low = np.asarray(Image.open(pairs / "low" / "a.png"))
    high = np.asarray(Image.open(pairs / "high" / "a.png"))
    result = resize(low, height=40, width=80)
    values = {
        protocol: evaluate([upscaler()], open_set(pairs), attention_ratios=[0.5], protocol=protocol)[0][0]
        for protocol in ("classic", "large", "erp")
    }
    assert values["large"].images[0].psnr == pytest.approx(
        peak_signal_noise_ratio(high, result, data_range=255)
    )
    assert values["erp"].images[0].psnr == pytest.approx(ws_psnr(result, high))
    assert len({row.psnr for row in values.values()}) == 3
    seam = np.concatenate((result[:, -8:], result[:, :8]), axis=1)
    there = np.concatenate((high[:, -8:], high[:, :8]), axis=1)
    assert values["erp"].images[0].seam == pytest.approx(ws_psnr(seam, there))
    assert values["erp"].images[0].elsewhere == pytest.approx(ws_psnr(result[:, 8:-8], high[:, 8:-8]))
    rows, _ = evaluate([upscaler()], open_set(pairs), attention_ratios=[0.5], protocol="erp")
    assert [row.model for row in rows] == ["bicubic", "tiny", "tiny flat"]


def test_a_picture_that_is_no_panorama_is_told(pairs: Path) -> None:
    with pytest.raises(InputError, match="twice as wide"):
        evaluate([upscaler()], open_set(pairs), attention_ratios=[0.5], protocol="erp")


def test_large_also_cuts_tiles_as_the_paper_does(tmp_path: Path) -> None:
    Image.fromarray(noise_picture(2 * 90, 2 * 150)).save(tmp_path / "a.png")
    up = upscaler()
    rows, _ = evaluate([up], open_set(tmp_path), attention_ratios=[0.5], protocol="large")
    assert [row.model for row in rows] == ["bicubic", "tiny", "tiny tiles 64/4"]
    image = torch.rand(3, 90, 150).numpy()
    tiled, macs, share = paper_tiles(up, image, 1.0)
    assert tiled.shape == (3, 180, 300)
    assert share == 1.0
    alone = up.run(image[:, :64, :64], attention_ratio=1.0)
    assert np.array_equal(tiled[:, :40, :112], alone.high[:, :40, :112]), "no overlap there: one tile's own"
    assert macs == 6 * alone.macs  # 2 x 3 tiles
    small, _, _ = paper_tiles(up, image[:, :20, :30], 1.0)
    assert np.array_equal(small, up.run(image[:, :20, :30], attention_ratio=1.0).high)


def test_the_papers_large_images_are_beside_what_is_measured(tmp_path: Path, capsys) -> None:
    """Of the authors' file, in the paper's tiles, on the paper's sets; and nowhere else."""
    (tmp_path / "Test4K").mkdir()
    Image.fromarray(noise_picture(64, 64)).save(tmp_path / "Test4K" / "a.png")
    model = replace(upscaler(4).model, name="mine", provenance={"official": "official-s-x4"})
    ours = replace(model, name="ours", provenance={})
    rows, _ = evaluate(
        [TensorComputer(model, device="cpu"), TensorComputer(ours, device="cpu")],
        open_set(tmp_path / "Test4K"),
        attention_ratios=[0.5, 0.7, 1.0],
        protocol="large",
    )
    stated = {(row.model, row.attention_ratio): row.published for row in rows if row.published}
    assert stated == {("mine tiles 64/4", 0.5): 27.70, ("mine tiles 64/4", 1.0): 27.73}
    row = next(row for row in rows if row.published)
    assert row_facts(row)["published"] == 27.70
    _print(rows, protocol_facts("large", 2, []) | dict.fromkeys(("device", "precision", "tile", "policy")))
    assert "published dB" in (said := capsys.readouterr().out)
    assert "27.70" in said
    plain = [replace(row, published=None) for row in rows]
    _print(plain, protocol_facts("large", 2, []) | dict.fromkeys(("device", "precision", "tile", "policy")))
    assert "published" not in capsys.readouterr().out


def test_high_pictures_alone_are_reduced_here(pairs: Path) -> None:
    benchmark = open_set(pairs / "high")
    assert benchmark.made
    stored, _ = evaluate([upscaler()], open_set(pairs), attention_ratios=[0.5])
    made, _ = evaluate([upscaler()], benchmark, attention_ratios=[0.5])
    assert [row.psnr for row in made] == [row.psnr for row in stored]


def test_what_does_not_match_is_named_and_in_no_mean(pairs: Path) -> None:
    alone, _ = evaluate([upscaler()], open_set(pairs), attention_ratios=[0.5])
    Image.fromarray(noise_picture(8, 8)).save(pairs / "high" / "lonely.png")
    Image.fromarray(noise_picture(8, 8)).save(pairs / "low" / "orphan.png")
    for part, side in (("high", 40), ("low", 21)):
        Image.fromarray(noise_picture(side, side)).save(pairs / part / "size.png")
        (pairs / part / "broken.png").write_bytes(b"no picture")
    rows, problems = evaluate([upscaler()], open_set(pairs), attention_ratios=[0.5])
    text = "\n".join(problems)
    for name in ("lonely", "orphan", "size", "broken"):
        assert name in text
    assert len(problems) == 4
    assert [row.psnr for row in rows] == [row.psnr for row in alone]


def test_sets_that_cannot_be_are_refused(tmp_path: Path, pairs: Path) -> None:
    with pytest.raises(InputError, match="expected a folder"):
        open_set(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="found none"):
        open_set(tmp_path / "empty")
    (tmp_path / "empty" / "a.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="no picture could be scored"):
        evaluate([upscaler()], open_set(tmp_path / "empty"), attention_ratios=[0.5])
    with pytest.raises(ImageError, match="decoded"):
        open_set(tmp_path / "empty").pairs[0].read(2)
    with pytest.raises(UsageError, match="one scale"):
        evaluate([upscaler(2), upscaler(3)], open_set(pairs), attention_ratios=[0.5])
    with pytest.raises(UsageError, match="unknown protocol"):
        evaluate([upscaler()], open_set(pairs), attention_ratios=[0.5], protocol="best")  # type: ignore[arg-type]


def test_a_wrong_kernel_is_noticed(tmp_path: Path) -> None:
    """Low images of a known set that were made by dropping pixels score unlike bicubic ones."""
    source = shared("data/bench/Set5/x4/high")
    folder = tmp_path / "Set5" / "x4"
    for part in ("high", "low"):
        (folder / part).mkdir(parents=True)
    for path in source.glob("*.png"):
        high = np.asarray(Image.open(path))
        Image.fromarray(high).save(folder / "high" / path.name)
        rows, columns = (length // 4 for length in high.shape[:2])
        Image.fromarray(high[: 4 * rows : 4, : 4 * columns : 4]).save(folder / "low" / path.name)
    _, problems = evaluate([upscaler(4)], open_set(folder), attention_ratios=[])
    assert len(problems) == 1
    assert "another kernel" in problems[0]


@pytest.mark.parametrize("folder", ["Set5/x2", "Set5/x3", "Set5/x4", "Set14/x2", "Set14/x3", "Set14/x4"])
def test_bicubic_scores_what_is_published(folder: str) -> None:
    benchmark = open_set(shared(f"data/bench/{folder}"))
    rows, problems = evaluate([upscaler(int(folder[-1]))], benchmark, attention_ratios=[])
    assert problems == []
    known = PUBLISHED_BICUBIC[benchmark.name, int(folder[-1])]
    assert rows[0].psnr == pytest.approx(known, abs=0.1)


def test_the_command_prints_a_table_and_writes_json_and_csv(pairs: Path, tmp_path: Path, capsys) -> None:
    model, facts, table = (tmp_path / name for name in ("m.safetensors", "f.json", "t.csv"))
    save(model, Model("tiny", random_network(channels=8, scale=2, blocks=(1,))))
    code = run(
        "evaluate", "--model", model, "--data", pairs, "--attention-ratio", 0, 0.5, 1,
        "--json", facts, "--csv", table,
    )  # fmt: skip
    assert code == 0
    out = capsys.readouterr()
    assert out.err == ""
    assert out.out.count("tiny") >= 3
    assert "bicubic" in out.out
    assert "luma" in out.out
    result = json.loads(facts.read_text())
    assert result["protocol"]["border"] == 2
    assert [row["attention_ratio"] for row in result["rows"]] == [None, 0.0, 0.5, 1.0]
    assert len(result["rows"][1]["images"]) == 2
    with table.open() as stream:
        assert len(list(csv.DictReader(stream))) == 8

    report = tmp_path / "report"
    code = run("evaluate", "--model", model, "--data", pairs, "--attention-ratio", 0, 1, "--report", report)
    assert code == 0
    page = (report / "index.html").read_text()
    linked = set(re.findall(r'src="([^"]+)"', page))
    assert linked == {path.name for path in report.iterdir()} - {"index.html"}
    assert len(linked) == 5  # three plots, the best and the worst picture
    assert "http" not in page
    for name in ("bicubic", "tiny", "MATLAB", "best picture", "worst picture"):
        assert name in page
    capsys.readouterr()

    (pairs / "low" / "a.png").unlink()
    assert run("evaluate", "--model", model, "--data", pairs) == 3
    assert "a is in high/ and not in low/" in capsys.readouterr().err
    assert run("evaluate", "--model", model, "--data", pairs, "--attention-ratio", 2) == 2
    assert run("evaluate", "--model", model, "--data", tmp_path / "no") == 3
    assert run("evaluate", "--model", model) == 2
