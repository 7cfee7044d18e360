"""The library's face: an object that enlarges pictures, whatever they are held in."""

import threading
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, overload

import numpy as np
from numpy.typing import NDArray

from camixersr.catalogue import default_model, embedded, find
from camixersr.enlarge.enlarge import AlphaBy, Cancel, Steps, beyond, enlarge
from camixersr.enlarge.files import Written, upscale_file
from camixersr.enlarge.kinds import File, Held, is_batch, picture_of
from camixersr.enlarge.options import Options, Restore
from camixersr.errors import UsageError
from camixersr.image.degradation import quality_of
from camixersr.image.panorama import Panorama, Projection, panorama_of
from camixersr.image.picture import MAX_PIXELS, Picture
from camixersr.image.size import Size, best_scale
from camixersr.inference.computer import Computer, Enlarged
from camixersr.inference.cost import Progress
from camixersr.weights import Model

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Upscaler", "model_for"]


def _size_of(scale: float | None, size: Size | None) -> Size:
    """What was asked for as one record.

    Raises:
        UsageError: twice.
    """
    if scale is not None and size is not None:
        raise UsageError("scale and size both say how large; give one of them")
    return size or Size(scale=scale)


def model_for(image: Any, size: Size, projection: Projection, *, white: float | None = None) -> str:
    """The embedded model that a picture is to be enlarged with: the smallest that suffices.

    Args:
        image: as for `picture_of`, or a batch of tensors.
        size: of the result.
        projection: as for `Upscaler.upscale`.
        white: as for `picture_of`.

    Raises:
        UsageError: there is none.
        CamixerError: as for `picture_of`.
    """
    low, _ = picture_of(image[0] if is_batch(image) else image, white=white)
    endings = {each.rsplit("-x", 1)[-1] for each in embedded()}
    scales = tuple(sorted(int(each) for each in endings if each.isdecimal()))
    if size.scale is not None and size.scale > max(scales) and not size.at_most:
        raise UsageError(
            f"expected at most x{max(scales)}, which the largest embedded model does, got "
            f"{size.label(4)}; give a model that does more, or ask for less"
        )
    high = size.of(low.height, low.width, default=4, reach=max(scales))
    scale = best_scale((low.height, low.width), high, scales) or max(scales)
    panorama, _ = panorama_of(low.metadata, low.height, low.width, projection)
    return default_model(scale, projection="flat" if panorama is None else "erp")


MOVED = frozenset({
    "auto", "batch", "batches", "device", "devices", "plan", "policy", "policy_of", "precision", "tile",
})  # fmt: skip
"""What an `Upscaler` had until it was told from what computes; of `Upscaler.computer` now."""


class Upscaler:
    """Enlarges pictures with one model; `camixersr.load` makes one by name.

    One upscaler may be used from several threads: they decode, convert and encode side by side and take
    turns at the network, which uses all cores, or the whole device, by itself.

    Args:
        model: from `camixersr.catalogue.find` or `camixersr.weights`.
        backend: as for `camixersr.load`; so are the others.
        device: where to compute.
        precision: what to compute in.
        tile: low pixels a tile.
        batch: tiles of a picture that are computed at once; "auto" is one on the CPU.

    Raises:
        CamixerError: an option that does not fit, or is not to be had here.
    """

    def __init__(
        self,
        model: Model,
        *,
        backend: str = "auto",
        device: str = "auto",
        precision: str = "auto",
        tile: int | Literal["auto"] = "auto",
        batch: int | Literal["auto"] = "auto",
    ) -> None:
        self.computer = Computer(
            model, backend=backend, device=device, precision=precision, tile=tile, batch=batch
        )
        self._turn = threading.RLock()
        self._how: dict[str, Any] = {
            "backend": backend, "device": device, "precision": precision, "tile": tile, "batch": batch
        }  # fmt: skip
        self._restorers: dict[str, Computer] = {}

    def _restorer_for(self, options: Options, quality: int | None) -> Computer | None:
        """What restores a picture before it is enlarged, if it is; made when it is first wanted."""
        if self.model.restores is not None or not options.restores(quality):
            return None
        with self._turn:
            name = options.restorer
            if name not in self._restorers:
                self._restorers[name] = Computer(find(name), **self._how)
            return self._restorers[name]

    def __repr__(self) -> str:
        devices = ",".join(self.computer.devices)
        return (
            f"Upscaler({self.model.name!r}, scale={self.scale}, device={devices!r}, "
            f"backend={self.computer.backend.name!r}, precision={self.computer.precision!r}, "
            f"tile={self.computer.tile!r})"
        )

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name not in MOVED:
                raise AttributeError(f"'Upscaler' has no attribute {name!r}")
            warnings.warn(
                f"Upscaler.{name} goes with the next version; use Upscaler.computer.{name}",
                DeprecationWarning,
                stacklevel=2,
            )
            return getattr(self.computer, name)

    @property
    def model(self) -> Model:
        """What computes, with its provenance and scores."""
        return self.computer.model

    @property
    def scale(self) -> int:
        """High pixels a low pixel, a side, that the model makes; 1 of one that restores."""
        return self.computer.scale

    @overload
    def upscale(
        self,
        image: Held,
        *,
        scale: float | None = None,
        size: Size | None = None,
        attention_ratio: float | None = None,
        max_share: float = 1.0,
        alpha: AlphaBy = "model",
        projection: Projection = "auto",
        restore: Restore = "auto",
        white: float | None = None,
        on_progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Held: ...

    @overload
    def upscale(
        self,
        image: File,
        *,
        scale: float | None = None,
        size: Size | None = None,
        attention_ratio: float | None = None,
        max_share: float = 1.0,
        alpha: AlphaBy = "model",
        projection: Projection = "auto",
        restore: Restore = "auto",
        on_progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Picture: ...

    @overload
    def upscale(
        self,
        image: list[Held],
        *,
        scale: float | None = None,
        size: Size | None = None,
        attention_ratio: float | None = None,
        max_share: float = 1.0,
        alpha: AlphaBy = "model",
        projection: Projection = "auto",
        restore: Restore = "auto",
        white: float | None = None,
        on_progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> list[Held]: ...

    @overload
    def upscale(
        self,
        image: list[str] | list[Path] | list[bytes],
        *,
        scale: float | None = None,
        size: Size | None = None,
        attention_ratio: float | None = None,
        max_share: float = 1.0,
        alpha: AlphaBy = "model",
        projection: Projection = "auto",
        restore: Restore = "auto",
        on_progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> list[Picture]: ...

    def upscale(
        self,
        image: Any,
        *,
        scale: float | None = None,
        size: Size | None = None,
        attention_ratio: float | None = None,
        max_share: float = 1.0,
        alpha: AlphaBy = "model",
        projection: Projection = "auto",
        restore: Restore = "auto",
        white: float | None = None,
        on_progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Any:
        """Enlarge a picture, or a list of them; the result is of the kind that was given.

        The result is what `camixersr upscale` makes of the same picture, to the bit.

        Args:
            image: an array, H x W or H x W x C with 1 to 4 channels (grey, grey + alpha, RGB, RGBA), uint8,
                uint16, or floating point with white at 1 (HDR beyond is kept); a torch tensor, (B x) C x H
                x W, uint8 or floating point; a PIL image; a path or the bytes of a file, which give a
                `camixersr.Picture`; or a list of these.
            scale: times as high and wide, at most the model's; what is less is reduced to, as a float may
                be: 2.5. By default the model's.
            size: another way to say how large, such as `camixersr.Size(fit=(3840, 2160))`. What is beyond
                the model's scale is interpolated (bicubic), with a warning, or a note of a `Picture`;
                `Size(..., at_most=True)` is never beyond.
            attention_ratio: gamma in [0, 1]: 0 is fastest, 1 attends everything; see `Model.policy`. By
                default what the model recommends, `Model.attention_ratio`.
            max_share: most windows that may be attended in any block, as a share of all.
            alpha: what enlarges transparency: "model", or "bicubic".
            projection: "auto" believes the picture's metadata, "erp" takes it for a 360-degree panorama,
                "flat" for none. A panorama is computed as the sphere it is, without a seam.
            restore: undo JPEG compression first: "auto", of a file that is a JPEG of low quality, as
                `Options.restore`; "on", of whatever is given; or "off". "noise" removes noise instead.
            white: the value of white in floating point, such as 255, and of PIL's mode I, 255 or 65535.
            on_progress: told, in this thread, work done and work in all; their ratio rises to 1.
            cancel: asked several times a tile whether to stop, such as `threading.Event().is_set`.

        Returns:
            The same kind, dtype and channels. Of a PIL image the orientation is applied, and profile, EXIF
            and XMP are kept, made true; palettes become RGB or RGBA, 1 bit L, CMYK and others RGB.

        Raises:
            CancelledError: `cancel` said so.
            ImageError: no picture, or a panorama that is none.
            MemoryLimitError: the memory does not suffice for the smallest tile.
            ShapeError: no picture of these kinds.
            ValueRangeError: the ratio, the share or the pixels are out of range.
            UsageError: an unknown option, or a scale beyond the model's.
        """
        if projection not in get_args(Projection):
            raise UsageError(
                f"unknown projection {projection!r}; use one of {', '.join(get_args(Projection))}"
            )
        wanted = _size_of(scale, size)
        batched = not isinstance(image, list | tuple) and is_batch(image)
        many = batched or isinstance(image, list | tuple)
        images: list[Any] = list(image) if many else [image]
        steps = Steps(on_progress, cancel, runs=max(1, len(images)))
        results: list[Any] = []
        for each in images:  # one by one: neighbours must not matter
            low, back = picture_of(each, white=white)
            panorama, remark = panorama_of(low.metadata, low.height, low.width, projection)
            size_of_it = wanted.of(low.height, low.width, default=self.scale, reach=self.scale)
            further = beyond((low.height, low.width), size_of_it, self.scale)
            if further and not isinstance(each, str | Path | bytes | Picture):  # which cannot hold a note
                warnings.warn(further, stacklevel=2)
            quality = quality_of(each) if isinstance(each, str | Path | bytes) else None
            restorer = self._restorer_for(Options(restore=restore), quality)
            with self.turn(steps.check):
                _, high = enlarge(
                    self.computer,
                    low,
                    size=size_of_it,
                    attention_ratio=attention_ratio,
                    max_share=max_share,
                    alpha_by=alpha,
                    progress=steps,
                    panorama=panorama,
                    restorer=restorer,
                )
            if remark:
                high = replace(high, notes=(*high.notes, remark))
            steps(1, 1)
            steps.begun += 1
            results.append(back(high))
        if batched:
            return _stack(results)
        return results if many else results[0]

    def upscale_file(
        self,
        source: File,
        target: str | Path,
        *,
        options: Options | None = None,
        overwrite: bool = False,
        spill: str | Path | None = None,
        max_pixels: int = MAX_PIXELS,
        on_progress: Progress | None = None,
        cancel: Cancel | None = None,
    ) -> Written:
        """Enlarge a file into another, of any size, with all that `camixersr upscale` keeps.

        Bytes of the file are those of the command line. What is large goes in tiles from disk to disk;
        all pages of a TIFF are enlarged into another TIFF. For many files see `camixersr.upscale_files`.

        Args:
            source: a path, or the bytes of a file.
            target: the file to make; its suffix decides the format.
            options: how to enlarge and encode; what this upscaler has settled (model, tile, device ...) is
                left out.
            overwrite: replace a file that exists.
            spill: folder for the intermediate files of a large picture, instead of the target's.
            max_pixels: larger pictures are refused.
            on_progress: as for `upscale`.
            cancel: as for `upscale`.

        Returns:
            The sizes, what it cost, and notes on what could not be kept.

        Raises:
            CancelledError: `cancel` said so; nothing is left half-written.
            ImageError: no picture, or a damaged one.
            OutputError: the target exists, or cannot be written.
            MemoryLimitError: the memory granted, or what there is, does not suffice.
            UsageError: an option that is not for this.
        """
        steps = Steps(None, cancel)
        return upscale_file(
            self.computer,
            source,
            target,
            options or Options(),
            overwrite=overwrite,
            spill=None if spill is None else Path(spill),
            max_pixels=max_pixels,
            progress=on_progress,
            cancel=cancel,
            turn=lambda: self.turn(steps.check),
            restorer=self._restorer_for,
        )

    @contextmanager
    def turn(self, check: Callable[[], None] = lambda: None) -> Generator[None]:
        """Wait for the network, which one thread at a time may use.

        Args:
            check: called now and then while this thread waits; what it raises ends that.
        """
        while not self._turn.acquire(timeout=0.1):
            check()
        try:
            yield
        finally:
            self._turn.release()

    def run(
        self,
        low: "NDArray[np.float32] | Tensor",
        *,
        attention_ratio: float | None = None,
        max_share: float = 1.0,
        progress: Progress | None = None,
        panorama: Panorama | None = None,
    ) -> Enlarged:
        """Enlarge one RGB image, 3 x H x W float32 in [0, 1], and tell what it cost.

        An array or a tensor; the result's `high` is an array. As
        `camixersr.inference.computer.Computer.run`, from any thread.
        """
        planes = low if isinstance(low, np.ndarray) else low.detach().cpu().numpy()
        with self.turn():
            return self.computer.run(
                planes,
                attention_ratio=attention_ratio,
                max_share=max_share,
                progress=progress,
                panorama=panorama,
            )


def _stack(images: "list[Tensor]") -> "Tensor":
    batch = images[0].new_empty((len(images), *images[0].shape))
    for number, each in enumerate(images):
        batch[number] = each
    return batch
