"""Tables in pages that are written by hand are those that tools/results.py makes of docs/results."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOL = runpy.run_path(str(ROOT / "tools" / "results.py"))


@pytest.mark.parametrize("page", ["pruning.md", "classsr.md"])
def test_tables_in_pages_are_those_that_were_measured(page: str) -> None:
    assert TOOL["filled"]()[page] == (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines()


def test_classes_are_compared_with_plain_settings_of_the_same_psnr() -> None:
    rows = {
        "plain 0": {"psnr": [20.0], "macs": [100]},
        "plain 1": {"psnr": [30.0], "macs": [300]},
        "classes a": {"psnr": [25.0], "macs": [220]},  # plain takes 200 for 25 dB
        "classes b": {"psnr": [19.0], "macs": [90]},
        "classes c": {"psnr": [31.0], "macs": [90]},
    }
    more, fewer, none = TOOL["compared"](rows)
    assert "classes a: 10% more" in more
    assert "classes b: 10% fewer" in fewer
    assert "no plain row scores as much" in none
