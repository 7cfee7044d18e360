"""Pure functions that score a picture against its original; arrays in, numbers out."""

from camixersr.metrics.fidelity import luma, psnr

__all__ = ["luma", "psnr"]
