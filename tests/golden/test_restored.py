"""The embedded model that restores keeps what its page says."""

import numpy as np
import pytest
from PIL import Image

import camixersr
from camixersr.image.degradation import compress
from camixersr.metrics import luma, psnr
from tests.conftest import ROOT, shared


def test_the_embedded_model_mends_the_sample() -> None:
    high = np.asarray(Image.open(ROOT / "samples" / "summer-palace.jpg").convert("RGB"))[96:256, 96:256]
    low = compress(np.ascontiguousarray(high), 20)
    result = camixersr.restore(low, device="cpu")
    assert psnr(luma(result), luma(high)) > psnr(luma(low), luma(high)) + 0.5


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_embedded_model_gains_on_kodak() -> None:
    """The protocol of docs/restoration.md: quality 20, 4:2:0, luma, whole pictures, 8 bits."""
    restorer = camixersr.load("s-jpeg", device="cpu")
    gains = []
    for path in sorted(shared("data/photo").glob("*.png")):
        high = np.asarray(Image.open(path).convert("RGB"))
        low = compress(high, 20)
        result = restorer.upscale(low, attention_ratio=0.5)
        gains.append(psnr(luma(result), luma(high)) - psnr(luma(low), luma(high)))
    assert len(gains) == 24
    assert np.mean(gains) >= 0.8
