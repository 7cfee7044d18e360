"""A ClassSR's classifier, from planes to classes."""

import numpy as np
import torch
from numpy.typing import NDArray

from camixersr.backends.protocol import Planes
from camixersr.models.classsr import PatchClassifier, windows_of

__all__ = ["PatchClasses"]


class PatchClasses:
    """Classes of patches and windows.

    Args:
        classifier: of the model; it is moved to the device.
        device: where to compute.
    """

    def __init__(self, classifier: PatchClassifier, device: str) -> None:
        self._classifier, self._device = classifier.to(device), device

    @torch.inference_mode()
    def of_patches(self, low: Planes) -> NDArray[np.int64]:
        """1 x 3 x H x W in [0, 1] to 1 x ceil(H / 32) x ceil(W / 32)."""
        return self._classifier.classes(torch.from_numpy(low).to(self._device)).cpu().numpy()

    def of_windows(
        self, patches: NDArray[np.int64], rows: int, columns: int, window: int
    ) -> NDArray[np.int64]:
        """As `camixersr.models.classsr.windows_of`, of one picture: rows x columns."""
        found = windows_of(torch.from_numpy(patches), rows, columns, window)
        return found.reshape(rows, columns).numpy()
