"""The command: what it refuses before Ray is started, and one short run over two workers."""

from pathlib import Path

import pytest

from camixersr.cli import main
from camixersr.errors import MissingExtraError
from camixersr.fleet.resources import Resources


def refused(capsys, *arguments: object) -> str:
    with pytest.raises(SystemExit) as caught:
        main(["fleet", "upscale", *map(str, arguments)])
    assert caught.value.code in (2, 3)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_what_cannot_be_is_refused_in_one_line(tmp_path: Path, capsys, pictures) -> None:
    source = tmp_path / "photos"
    assert "found none" in refused(capsys, tmp_path / "none", tmp_path / "out")
    pictures(source, 2, (8, 8), corrupt=0)
    out = tmp_path / "out"
    assert "must not be SOURCE" in refused(capsys, source, source)
    assert "must not be SOURCE" in refused(capsys, source, tmp_path)
    assert "--workers" in refused(capsys, source, out, "--workers", 0)
    assert "--address" in refused(capsys, source, out, "--address", "somewhere")
    assert "--retries" in refused(capsys, source, out, "--retries", -1)
    assert "--scratch" in refused(capsys, source, out, "--scratch", tmp_path / "none")
    assert "one device" in refused(capsys, source, out, "--device", "all")
    line = refused(capsys, source, "s3://me:hush-hush@bucket/x")
    assert "environment" in line
    assert "hush" not in line
    assert not out.exists()


def test_a_missing_extra_says_what_to_install(tmp_path: Path, capsys, monkeypatch, pictures) -> None:
    pictures(tmp_path / "photos", 1, (8, 8), corrupt=0)
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    line = refused(capsys, tmp_path / "photos", tmp_path / "out")
    assert "[fleet]" in line
    assert MissingExtraError.exit_code == 2


@pytest.mark.parametrize("wrong", [{"cpus": 0}, {"gpus": -1.0}, {"workers": 0}, {"address": "http://x"}])
def test_resources_that_cannot_be(wrong) -> None:
    with pytest.raises(ValueError, match="--"):
        Resources(**wrong)


def test_twelve_pictures_over_two_workers(tmp_path: Path, fleet, pictures, rows) -> None:
    pytest.importorskip("ray")
    source, results, alone = tmp_path / "photos", tmp_path / "results", tmp_path / "alone"
    (bad,) = pictures(source, 12, (24, 16), corrupt=1)
    foreign = results / "a" / "p002_x4.png"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"somebody's")
    code, out, err = fleet.run("fleet", "upscale", source, results, "--workers", "2")
    assert code == 3
    assert out.startswith("12 pictures: 10 done, 2 failed"), out
    lines = [line for line in err.splitlines() if "of 12 done" not in line]  # on a slow machine
    assert len(lines) == 3, err
    assert "11 pictures for 2 workers" in lines[0]
    assert any(line.startswith(f"camixersr: {bad}: ") for line in lines)
    assert any("a/p002_x4.png: exists already" in line for line in lines)
    assert foreign.read_bytes() == b"somebody's"
    done = {row["key"]: row for row in rows(results) if row["status"] == "done"}
    assert len(done) == 10
    assert fleet.run("upscale", source, "-o", alone)[0] == 3
    for row in done.values():
        assert (results / row["result"]).read_bytes() == (alone / row["result"]).read_bytes()
    kept = {path.name for path in (results / "camixersr-fleet").iterdir()}
    assert kept == {".held", ".rows", "rows", "runs"}, "nothing under way is left"
