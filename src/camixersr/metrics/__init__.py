"""Pure functions that score a picture against its original; arrays in, numbers out."""

from camixersr.metrics.fidelity import decibels, luma, psnr, psnr_b, ssim
from camixersr.metrics.spherical import latitude_weights, seam, ws_psnr, ws_ssim

__all__ = ["decibels", "latitude_weights", "luma", "psnr", "psnr_b", "seam", "ssim", "ws_psnr", "ws_ssim"]
