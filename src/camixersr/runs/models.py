"""Which model enlarges a picture: the one that was given, or an embedded one for each scale."""

import threading
from collections.abc import Callable, Hashable, MutableMapping
from dataclasses import replace
from typing import Any

from camixersr import __version__
from camixersr.backends.choose import require
from camixersr.backends.devices import devices_of
from camixersr.catalogue import default_model, embedded, find
from camixersr.enlarge.options import Options
from camixersr.errors import UsageError
from camixersr.image.panorama import Panorama
from camixersr.image.size import Size, best_scale
from camixersr.inference.computer import Computer
from camixersr.inference.tiles import cut
from camixersr.runs.manifest import digest

__all__ = ["Kept", "Models"]

Kept = MutableMapping[Hashable, Computer]
"""Loaded models, by their names and by all that decides how they compute."""

CELL = 64
"""Side of the cells that the embedded models pool over, in low pixels."""


class Models:
    """The model to use, or one for each scale, loaded when first needed.

    Args:
        options: what was asked for.
        restoring: the model is to restore, at scale 1, and not to enlarge.
        say: told, in a line each, if backends are measured, and what came of it.
        measuring: told meanwhile of which model, how many seconds that has taken, and how many it takes
            at most.
        kept: where loaded models are kept; of this object alone by default.
        make: makes what computes, called as `Computer` is.

    Raises:
        CamixerError: a given model that is missing, damaged, or of the other kind; a device or backend
            that is not there.
    """

    def __init__(
        self,
        options: Options,
        *,
        restoring: bool,
        say: Callable[[str], None],
        measuring: Callable[[str, float, float], None] = lambda model, done, total: None,
        kept: Kept | None = None,
        make: Callable[..., Computer] = Computer,
    ) -> None:
        self._make = make
        self.options, self.restoring, self._say, self._measuring = options, restoring, say, measuring
        self.devices = devices_of(options.device)
        self._loaded: Kept = {} if kept is None else kept
        self._loading = threading.Lock()
        if options.model is not None:
            self.scales: tuple[int, ...] = (self._get(options.model).scale,)
        else:
            endings = {each.rsplit("-x", 1)[-1] for each in embedded()}
            self.scales = tuple(sorted(int(each) for each in endings if each.isdecimal()))
        self._require(options.size)

    @property
    def default_scale(self) -> int:
        """What is done where no size was asked for: 4, or the given model's scale."""
        return 4 if 4 in self.scales else max(self.scales)

    def _require(self, size: Size) -> None:
        """Refuse what cannot be had, before anything is done and before any embedded model is loaded."""
        if size.scale is not None and size.scale > max(self.scales) and not size.at_most:
            which = f"model {self.options.model}" if self.options.model else "the largest embedded model"
            raise UsageError(
                f"--scale {size.scale:g} is more than {which} does, x{max(self.scales)}; choose another "
                "--model or --scale"
            )
        if self.options.model is None:
            options = self.options
            if options.backend not in ("auto", "fastest"):
                device = devices_of(options.device)[0]
                require(options.backend, device=device, precision=options.precision)
            if options.tile != "auto":
                cut(1, 1, options.tile, cell=CELL)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the result of a picture."""
        size = self.options.size
        return size.of(height, width, default=self.default_scale, reach=max(self.scales))

    def digests(self) -> dict[str, str]:
        """SHA-256 of every model that may be used, by name: what results are made with."""
        if self.options.model is not None:
            used = [self._get(self.options.model)]
            used += [] if self.options.restore == "off" else [self.restorer]
            return {each.model.name: each.model.sha256 for each in used}
        return {name: digest(path) for name, path in embedded().items()}

    def record(self) -> dict[str, Any]:
        """All that decides results, as plain JSON values: options, models' digests, this version."""
        return self.options.record() | {"model": self.digests(), "version": __version__}

    def on(self, device: str) -> Options:
        """The options for one of the devices, in a process of its own."""
        backend = self.options.backend
        if backend in ("auto", "fastest"):
            # it is not chosen again by each, and for the model that is likely in use
            scale = self.options.size.scale or self.default_scale
            reaching = [each for each in self.scales if each >= scale]
            chosen: Any = self.of(min(reaching, default=max(self.scales))).backend.name
            backend = chosen
        return replace(self.options, device=device, backend=backend)

    def of(self, scale: int, *, projection: str = "flat") -> Computer:
        """The model of a scale, for flat pictures or panoramas."""
        return self._get(self.options.model or default_model(scale, projection=projection))

    def reaching(
        self, low: tuple[int, int], high: tuple[int, int], *, panorama: Panorama | None = None
    ) -> Computer:
        """The smallest model that makes a picture large enough; the largest if none does."""
        return self.of(self.scale_of(low, high), projection="flat" if panorama is None else "erp")

    def scale_of(self, low: tuple[int, int], high: tuple[int, int]) -> int:
        """The scale of the model that `reaching` takes, which is not loaded for that."""
        return best_scale(low, high, self.scales) or max(self.scales)

    @property
    def restorer(self) -> Computer:
        """What restores pictures before they are enlarged."""
        return self._get(self.options.restorer, restoring=True)

    def _get(self, name: str, *, restoring: bool = False) -> Computer:
        restoring = restoring or self.restoring
        with self._loading:
            options = self.options
            how = (options.device, options.backend, options.precision, options.tile, options.batch)
            key = (name, restoring, options.routing, *how)
            if key not in self._loaded:
                self._loaded[key] = self._load(name, restoring=restoring)
            return self._loaded[key]

    def _load(self, name: str, *, restoring: bool) -> Computer:
        model, options = find(name), self.options
        if restoring and not model.restores:
            raise UsageError(
                f"{model.name} enlarges x{model.config.scale} and restores nothing; use `camixersr "
                "upscale`, or give a --model that restores, such as s-jpeg or s-noise"
            )
        if model.restores and not restoring:
            raise UsageError(
                f"{model.name} restores ({model.restores.about}) and does not enlarge; use "
                "`camixersr restore`"
            )
        if options.routing == "top-share":
            if model.classes is not None:
                raise UsageError(f"model {model.name} routes by classes; leave --routing top-share out")
            model = replace(model, calibration=None)
        return self._make(
            model,
            device=options.device,
            backend=options.backend,
            precision=options.precision,
            tile=options.tile,
            batch=options.batch,
            say=self._say,
            progress=lambda done, total: self._measuring(model.name, done, total),
        )
