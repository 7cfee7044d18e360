"""Tables of the paper: published, measured and difference, whole or with what is missing named."""

import csv
import inspect
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from camixersr.backends.choose import usual
from camixersr.cli.evaluate import evaluate as evaluate_command
from camixersr.cli.reproduce import reproduce as reproduce_command
from camixersr.data import BICUBIC, open_set
from camixersr.errors import InputError
from camixersr.evaluation import evaluate
from camixersr.models import OmniCAMixerSRConfig, make
from camixersr.published import Stated, bicubic, find, load
from camixersr.reproduce.layouts import lay_out
from camixersr.reproduce.measure import reproduce
from camixersr.reproduce.tables import TABLES
from camixersr.weights import Model, save
from tests.conftest import TensorComputer, noise_picture, random_network, run, shared

STATED = """
[sources]
ours = "a made-up paper"
[[network]]
table = "lightweight"
network = "bicubic"
scale = 2
source = "ours"
sets = { Set5 = [20.0, 0.5] }
[[network]]
table = "lightweight"
network = "tiny"
scale = 2
attention_ratio = 0.5
source = "ours"
sets = { Set5 = [21.0], Set14 = [22.0] }
[[network]]
table = "ablation"
network = "no-offsets"
scale = 4
attention_ratio = 0.5
source = "ours"
sets = { Set14 = [26.5] }
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save(tmp_path / "tiny.safetensors", Model("tiny", random_network(channels=8, scale=2, blocks=(1,))))
    return tmp_path / "tiny.safetensors"


@pytest.fixture
def stated(tmp_path: Path) -> Path:
    (tmp_path / "stated.toml").write_text(STATED)
    return tmp_path / "stated.toml"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set5 as BasicSR's users have it, high pictures only; its bicubic score is not looked at."""
    monkeypatch.setattr("camixersr.evaluation.score.PUBLISHED_BICUBIC", {})
    folder = tmp_path / "data" / "benchmark" / "Set5" / "HR"
    folder.mkdir(parents=True)
    for number in range(5):
        Image.fromarray(noise_picture(33, 40, seed=number)).save(folder / f"{number}.png")
    return tmp_path / "data"


def test_a_table_is_what_evaluate_measures_beside_what_is_stated(
    data: Path, model: Path, stated: Path, tmp_path: Path, capsys
) -> None:
    files = [tmp_path / f"table.{kind}" for kind in ("json", "csv", "md", "tex")]
    code = run(
        "reproduce", "lightweight", "--data", data, "--model", model, "--set", "Set5",
        "--published", stated, "--attention-ratio", 0.5, "--save", *files,
    )  # fmt: skip
    assert code == 0
    said = capsys.readouterr()
    tiny = TensorComputer(Model("tiny", random_network(channels=8, scale=2, blocks=(1,))), device="cpu")
    layout = lay_out(data / "benchmark" / "Set5", 2, BICUBIC)
    assert layout is not None
    rows, _ = evaluate([tiny], layout.benchmark, attention_ratios=[0.5])
    made = json.loads(files[0].read_text())
    assert [(cell["model"], cell["pictures"], cell["expected"]) for cell in made["cells"]] == [
        ("bicubic", 5, 5),
        ("tiny", 5, 5),
    ]
    for cell, row, published in zip(made["cells"], rows, (20.0, 21.0), strict=True):
        assert cell["measured"] == pytest.approx({"PSNR": row.psnr, "SSIM": row.ssim}, abs=1e-6)
        assert cell["difference"]["PSNR"] == pytest.approx(row.psnr - published, abs=1e-6)
        assert cell["source"] == "a made-up paper"
    assert made["cells"][1]["difference"]["SSIM"] is None
    assert made["cells"][1]["macs"] == rows[1].images[0].macs
    assert {"macs_720p", "flops_32"} <= made["spent"][0].keys()
    assert made["facts"]["low_images"] == {"Set5 x2": "made here: bicubic"}
    assert made["facts"]["backend"] == {"tiny": usual(tiny.model, device="cpu")}

    numbers = f"{rows[1].psnr:.3f}", f"{rows[1].psnr - 21.0:+.3f}"
    for text in (said.out, files[2].read_text(), files[3].read_text()):
        assert all(number in text for number in ("21.00", *numbers))
    with files[1].open() as stream:
        lines = list(csv.DictReader(stream))
    assert float(lines[1]["PSNR difference"]) == pytest.approx(rows[1].psnr - 21.0)
    table = files[3].read_text().split(r"\begin{tabular}")[1]
    columns = {len(re.findall(r"(?<!\\)&", line)) for line in table.splitlines() if line.endswith(r"\\")}
    assert len(columns) == 1


def test_both_commands_that_score_offer_the_same_backends() -> None:
    ours, theirs = (
        inspect.signature(command).parameters["backend"]
        for command in (reproduce_command, evaluate_command)
    )
    assert (ours.annotation, ours.default) == (theirs.annotation, theirs.default)


def test_what_is_missing_is_named_and_the_exit_code_says_so(
    data: Path, model: Path, stated, capsys
) -> None:
    arguments = ("reproduce", "lightweight", "--data", data, "--model", model, "--published", stated)
    assert run(*arguments, "--attention-ratio", 0.5) == 4
    said = capsys.readouterr()
    for name in TABLES["lightweight"].sets[1:]:
        assert f"missing: no {name} for x2" in said.err
    assert re.search(r"Set14 +x2 .*tiny +0.5 +22.00 .*no Set14 for x2", said.out)


def test_half_a_set_is_compared_with_nothing(data: Path, model: Path, stated: Path, tmp_path: Path) -> None:
    (data / "benchmark" / "Set5" / "HR" / "0.png").unlink()
    Image.fromarray(np.zeros((32, 32), np.uint16)).save(data / "benchmark" / "Set5" / "HR" / "1.png")
    save_to = tmp_path / "half.json"
    arguments = ("reproduce", "lightweight", "--data", data, "--model", model, "--published", stated)
    assert run(*arguments, "--set", "Set5", "--save", save_to) == 3
    made = json.loads(save_to.read_text())
    assert "expected the 5 pictures of Set5, got 4" in made["problems"][0]
    assert "got 16 bits" in made["problems"][1]
    for cell in made["cells"]:
        assert (cell["pictures"], cell["expected"]) == (3, 5)
        assert cell["note"] == "2 problems: not compared"
        assert set(cell["difference"].values()) == {None}


def test_a_set_without_one_right_picture_is_a_problem(tmp_path: Path, model: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.png").write_bytes(b"no picture")
    assert run("reproduce", "lightweight", "--data", tmp_path, "--model", model, "--set", "mine") == 3


def test_large_images_are_measured_whole_and_in_the_papers_tiles(tmp_path: Path) -> None:
    save(tmp_path / "t.safetensors", Model("t", random_network(channels=8, scale=4, blocks=(1,))))
    (tmp_path / "crops").mkdir()
    Image.fromarray(noise_picture(280, 120)).save(tmp_path / "crops" / "a.png")
    made = reproduce("large", tmp_path, models=[str(tmp_path / "t.safetensors")], sets=["crops"])
    assert [(cell.model, cell.attention_ratio) for cell in made.cells] == [
        ("bicubic", None), ("t", 1.0), ("t", 0.5), ("t tiles 64/4", 1.0), ("t tiles 64/4", 0.5),
    ]  # fmt: skip
    rows, _ = evaluate(
        [TensorComputer(Model("t", random_network(channels=8, scale=4, blocks=(1,))), device="cpu")],
        open_set(tmp_path / "crops"),
        attention_ratios=[1.0, 0.5],
        protocol="large",
    )
    assert [cell.measured["PSNR"] for cell in made.cells] == pytest.approx(
        [row.psnr for row in rows], abs=1e-6
    )


def test_panoramas_have_plain_and_weighted_scores(tmp_path: Path) -> None:
    network = make(OmniCAMixerSRConfig(channels=8, scale=2, blocks=(1,))).eval().requires_grad_(False)
    save(tmp_path / "o.safetensors", Model("o", network))
    (tmp_path / "SUN360").mkdir()
    Image.fromarray(noise_picture(64, 128)).save(tmp_path / "SUN360" / "a.png")
    made = reproduce("omni", tmp_path, models=[str(tmp_path / "o.safetensors")], sets=["SUN360"])
    assert [cell.model for cell in made.cells] == ["bicubic", "o", "o flat"]
    for cell in made.cells:
        assert set(cell.measured) == {"PSNR", "SSIM", "WS-PSNR", "WS-SSIM"}
        assert cell.note.endswith("not compared")
    assert made.facts["low_images"] == {"SUN360 x2": "made here: through two fisheye pictures"}
    assert made.spent[0].macs_720p > 0


def test_models_that_do_not_fit_are_refused(data: Path, model: Path, tmp_path: Path, capsys) -> None:
    for arguments, words in (
        (("large", "--data", data, "--model", model), "expected models of x4"),
        (("lightweight", "--data", data, "--model", model, "--save", tmp_path / "a.xls"), "name ending in"),
        (("lightweight", "--data", data, "--attention-ratio", 2), "must lie in"),
        (("lightweight",), "--data FOLDER is needed"),
        (("ablation", "--data", data), "needs --findings"),
    ):
        assert run("reproduce", *arguments) == 2
        assert words in capsys.readouterr().err
    assert run("reproduce", "lightweight", "--data", tmp_path / "no", "--model", model) == 3


def test_the_ablation_is_that_of_the_findings(tmp_path: Path, stated: Path, capsys) -> None:
    rows = [
        {"name": name, "macs": [1e9] * 5, "psnr": {"Set14": [[value, value + 0.02]] * 5}}
        for name, value in (("full", 26.6), ("no-offsets", 26.58))
    ]
    file = tmp_path / "findings.json"
    found = {"facts": {"training": "a little"}, "ratios": [0.0, 0.25, 0.5, 0.75, 1.0], "rows": rows}
    file.write_text(json.dumps(found))
    assert run("reproduce", "ablation", "--findings", file, "--published", stated) == 0
    assert re.search(r"no-offsets +0.5 +26.50 +26.590 +\+0.090", capsys.readouterr().out)
    file.write_text("{}")
    assert run("reproduce", "ablation", "--findings", file) == 3
    assert "findings.json of `camixersr ablate`" in capsys.readouterr().err


def test_published_numbers_are_those_of_the_paper() -> None:
    paper = load()
    light = find(paper, table="lightweight", scale=4, official="official-b-x4", attention_ratio=0.5)
    assert isinstance(light, Stated)
    assert light.sets["Urban100"] == [26.63, 0.8012]
    assert "CVPR 2024" in light.source
    assert bicubic()["Set14", 2] == 30.24
    assert {each.table for each in paper} == {"lightweight", "large", "omni"}
    assert find(paper, table="large", scale=4, official="official-b-x4", attention_ratio=0.7) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[network]]\ntable = 'x'", "is missing"),
        (STATED.replace("[21.0]", "'much'"), "expected 1, 2 or 4 numbers"),
        (STATED.replace("scale = 4", "scale = 'four'"), "expected a whole number"),
        (STATED + "colour = 'red'", "unknown 'colour'"),
        ("network = 3", "expected entries"),
        ("][", "expected TOML"),
    ],
)
def test_a_wrong_file_of_published_numbers_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(InputError, match=re.escape(words)):
        load(tmp_path / "bad.toml")


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("Set14", "BSD100")]


@pytest.mark.parametrize("name", ["Set5", *SLOW])
def test_the_authors_s_reproduces_to_five_thousandths(name: str) -> None:
    authors = str(shared("official/CAMixerSR_S.pth"))
    made = reproduce("lightweight", shared("data"), models=[authors], sets=[name], ratios=[1.0])
    difference = made.cells[-1].difference("PSNR")
    assert difference is not None
    assert abs(difference) <= 0.005
