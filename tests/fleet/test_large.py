"""A picture that is large itself, and not only its result, has the bytes of one machine."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytest.importorskip("ray")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_large_tiff_over_two_workers() -> None:
    """Small here; `python benchmarks/fleet_large.py` does 60 megapixels on a quiet machine."""
    ended = subprocess.run(
        [sys.executable, "benchmarks/fleet_large.py", "--megapixels", "0.3", "--tile", "256"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "CAMIXERSR_CONFIG": "off"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "tiles of up to 256 x 256" in ended.stderr
    assert "its tiles are shared by 2 workers" in ended.stderr
    assert ended.stdout.endswith("the same bytes\n")
