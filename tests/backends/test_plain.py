import subprocess
import sys

import pytest

MEASURED = """
import numpy as np
import torch
from camixersr.image.raw import Layout
from camixersr.inference.computer import Computer
from camixersr.models import OmniCAMixerSR, OmniCAMixerSRConfig
from camixersr.weights import Model

network = OmniCAMixerSR(OmniCAMixerSRConfig({channels}, {scale}, (2,))).eval().requires_grad_(False)
computer = Computer(Model("omni", network), device="cpu", tile=0)
low = np.random.default_rng(0).random((3, 256, 256), np.float32)
computer.run(low[:, :64, :64], attention_ratio=1.0)
print(computer.memory.predict(Layout(256, 256, 3, "uint8"), 0))
print(computer.run(low, attention_ratio=1.0).peak_memory_bytes)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured by Linux")
@pytest.mark.parametrize(("channels", "scale"), [(16, 2), (36, 4)])
def test_the_memory_of_an_omnidirectional_network_is_predicted_within_a_quarter(
    channels: int, scale: int
) -> None:
    script = MEASURED.format(channels=channels, scale=scale)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    predicted, peak = map(int, done.stdout.split())
    assert 0.75 * peak <= predicted <= 1.25 * peak
