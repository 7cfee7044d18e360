"""What `camixersr upscale` and `restore` do with each picture: decode, compute, encode, and tell."""

import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from camixersr import __version__
from camixersr.cli.huge import HELD, Budget, enlarge_huge, facts_of, write_huge_route_map
from camixersr.enlarge.disk import Streamed
from camixersr.enlarge.enlarge import AlphaBy, enlarge
from camixersr.errors import ImageError, OutputError, UsageError
from camixersr.image.codec import Picture, check_writable, read, write, write_pages
from camixersr.image.color import Color
from camixersr.image.degradation import quality_of
from camixersr.image.files import make_folder, shown
from camixersr.image.formats import WRITABLE, WriteOptions, suffix_for
from camixersr.image.metadata import PNG_COLOUR
from camixersr.image.panorama import Panorama, Projection, panorama_of
from camixersr.image.size import Size, best_scale
from camixersr.image.stream import Look, look
from camixersr.inference.cost import Cost
from camixersr.inference.upscaler import AUTO_WHOLE, Enlarged, Upscaler, devices_of
from camixersr.runs.find import STREAM, require_regular
from camixersr.runs.manifest import Manifest, digest
from camixersr.runs.targets import Job, require_inside, with_suffix
from camixersr.weights import Model

if TYPE_CHECKING:
    from camixersr.cli.bars import Bars

__all__ = ["Models", "Pictures", "Settings", "refuse_existing", "say"]


Existing = Literal["refuse", "overwrite", "skip", "resume"]


def refuse_existing(path: Path) -> None:
    """Refuse to replace a file.

    Raises:
        OutputError: it exists.
    """
    if path.is_file() or path.is_symlink():
        raise OutputError(f"{shown(path)}: exists already; add --overwrite to replace it")


def say(line: str) -> None:
    """Print a remark on stderr."""
    print(f"camixersr: {line}", file=sys.stderr)


class Models:
    """The model to use, or one for each scale, loaded when first needed.

    Args:
        name: given by the user, or None: the embedded ones.
        device: as for `Upscaler`.
        precision: as for `Upscaler`.
        tile: as for `Upscaler`.
        backend: as for `camixersr.runtimes.upscaler`.
        routing: "auto", or "top-share" to leave a model's calibrated thresholds aside.
        restoring: the model given is to restore, at scale 1, and not to enlarge.

    Raises:
        UsageError: it is of the other kind.
    """

    def __init__(
        self,
        name: str | None,
        device: str,
        precision: str,
        tile: int | Literal["auto"],
        *,
        backend: str = "torch",
        routing: Literal["auto", "top-share"] = "auto",
        restoring: bool = False,
    ) -> None:
        from camixersr.catalogue import embedded

        self.devices = tuple(str(each) for each in devices_of(device))
        self._how: dict[str, Any] = {"backend": backend, "precision": precision, "tile": tile}
        self._device = device
        self._loaded: dict[str, Upscaler] = {}
        self._loading = threading.Lock()
        self._given = name
        self.routing: Literal["auto", "top-share"] = routing
        self.restoring = restoring
        if name is not None:
            only = self._load(name)
            self._loaded[name] = only
            self.scales = (only.scale,)
        else:
            endings = {each.rsplit("-x", 1)[-1] for each in embedded()}
            self.scales = tuple(sorted(int(each) for each in endings if each.isdecimal()))

    @property
    def default_scale(self) -> int:
        """What is done where no size was asked for: 4, or the given model's scale."""
        return 4 if 4 in self.scales else max(self.scales)

    def require(self, size: Size) -> None:
        """Refuse a factor that no model reaches, and load the first model, before anything is done.

        Raises:
            UsageError: the factor is too large.
        """
        if size.scale is not None and size.scale > max(self.scales):
            which = f"model {self._given}" if self._given else "the largest embedded model"
            raise UsageError(
                f"--scale {size.scale:g} is more than {which} does, x{max(self.scales)}; choose another "
                "--model or --scale"
            )
        if size == Size():
            self.of(self.default_scale)

    def on(self, device: str) -> dict[str, Any]:
        """The arguments for the same models on one of the devices, in a process of its own."""
        how = {"name": self._given, "device": device, "routing": self.routing, **self._how}
        how["restoring"] = self.restoring
        if how["backend"] == "auto":  # it is not chosen again by each
            how["backend"] = self.of(self.default_scale).backend
        return how

    def of(self, scale: int, *, projection: str = "flat") -> Upscaler:
        """The model of a scale, for flat pictures or panoramas."""
        from camixersr.catalogue import default_model

        name = self._given or default_model(scale, projection=projection)
        with self._loading:
            if name not in self._loaded:
                self._loaded[name] = self._load(name)
            return self._loaded[name]

    def _load(self, name: str) -> Upscaler:
        from camixersr.catalogue import find
        from camixersr.runtimes import upscaler

        model = find(name)
        if self.restoring and not model.restores:
            raise UsageError(
                f"{model.name} enlarges x{model.config.scale} and restores nothing; use `camixersr "
                "upscale`, or give a --model that restores, such as s-jpeg"
            )
        if model.restores and not self.restoring:
            raise UsageError(
                f"{model.name} restores ({model.restores.about}) and does not enlarge; use "
                "`camixersr restore`"
            )
        if self.routing == "top-share":
            if model.classes is not None:
                raise UsageError(f"model {model.name} routes by classes; leave --routing top-share out")
            model = replace(model, calibration=None)
        return upscaler(model, device=self._device, say=say, **self._how)

    def reaching(
        self,
        low: tuple[int, int],
        high: tuple[int, int],
        *,
        panorama: Panorama | None = None,
    ) -> Upscaler:
        """The smallest model that makes a picture large enough; the largest if none does."""
        scale = best_scale(low, high, self.scales) or max(self.scales)
        return self.of(scale, projection="flat" if panorama is None else "erp")


@dataclass(frozen=True)
class Settings:
    """What was asked for, the same for all pictures.

    Attributes:
        size: of the results.
        color: what becomes of colour profiles.
        alpha_by: what enlarges transparency.
        options: how to encode.
        max_pixels: larger inputs are refused.
        suffix: of the format asked for, or empty.
        existing: what to do about results that exist.
        name: template of names.
        folder: of the results, where there are several.
        projection: whether pictures are panoramas.
        budget: what a picture may cost.
    """

    size: Size
    color: Color
    alpha_by: AlphaBy
    options: WriteOptions
    max_pixels: int
    suffix: str
    existing: Existing
    name: str
    folder: Path | None
    projection: Projection = "auto"
    budget: Budget = field(default_factory=Budget)


@dataclass
class _Work:
    """A picture on its way."""

    job: Job
    low: Picture | None = None
    seen: Look | None = None  # instead, of a picture that is streamed; neither: it is there already
    high: Picture | None = None
    streamed: Streamed | None = None
    cost: Cost | None = None
    upscaler: Upscaler | None = None
    panorama: Panorama | None = None
    sha256: str = ""
    quality: int | None = None  # of a JPEG that is to be restored, as far as it tells
    seconds: float = 0.0
    pages: int = 1
    notes: list[str] = field(default_factory=list[str])


class Pictures:
    """The three steps of each picture, for `folders.run`.

    Args:
        models: to choose from.
        settings: what was asked for.
        jobs: all of them.
        manifest: record to keep, or None.
        bar: told how far it is.
    """

    def __init__(
        self,
        models: Models,
        settings: Settings,
        jobs: Sequence[Job],
        manifest: Manifest | None,
        bar: "Bars",
    ) -> None:
        self.models, self.settings, self.manifest, self.bar = models, settings, manifest, bar
        self.facts: list[dict[str, Any]] = []
        self.skipped = 0
        self._taken = {path for job in jobs for path in (job.target, job.source)}
        self._recording = threading.Lock()
        streamed = any(job.source == STREAM for job in jobs)
        self._content = sys.stdin.buffer.read() if streamed else b""
        model = models.of(models.scales[0]).model if len(models.scales) == 1 else None
        self._options: dict[str, Any] = {
            **asdict(settings.size),
            **asdict(settings.options),
            "attention_ratio": settings.budget.attention_ratio,
            "max_share": settings.budget.max_share,
            "routing": models.routing,
            "color": settings.color,
            "alpha": settings.alpha_by,
            "format": settings.suffix,
            "projection": settings.projection,
            "name": settings.name,
            "model": (model.sha256 or model.name) if model else list(models.scales),
            "tile": models.of(models.scales[0]).tile,
            "precision": models.of(models.scales[0]).precision,
            "version": __version__,
        }
        if self._options["fit"] is not None:
            self._options["fit"] = list(self._options["fit"])

    # decode -----------------------------------------------------------------------------------------

    def decode(self, job: Job) -> _Work:
        """Read a picture, if it is to be done."""
        began = time.perf_counter()
        work = _Work(job)
        with self._recorded(work):
            if self._is_there(work):
                return work
            work.seen = self._look(job)
            if work.seen is not None:
                self._suit(work)
                return work
            work.low = self._read(work, 0)
            work.pages = work.low.pages
            self._suit(work)
        work.seconds += time.perf_counter() - began
        return work

    def _suit(self, work: _Work) -> None:
        """Note a JPEG's quality, and whether the model that is to restore it knows that quality."""
        head = work.low or work.seen
        if not self.models.restoring or head is None or head.kind != "jpeg":
            return
        model = self.models.of(self.models.default_scale).model
        work.quality = quality_of(self._content if work.job.source == STREAM else work.job.source)
        known = model.restores
        if (
            known
            and known.kind == "jpeg"
            and work.quality
            and not known.least <= work.quality <= known.most
        ):
            work.notes.append(
                f"a JPEG of quality {work.quality}; {model.name} learnt from {known.least:g} to "
                f"{known.most:g}, and may "
                + ("soften it" if work.quality > known.most else "not mend it all")
            )

    def _look(self, job: Job) -> Look | None:
        """The head of a picture that is to be streamed; None for one that is held in memory."""
        settings = self.settings
        must = settings.budget.must_stream
        if job.source == STREAM or job.target == STREAM:
            why, seen = "neither standard input nor output can be", None
        else:
            try:
                seen = look(job.source, color=settings.color, max_pixels=settings.max_pixels)
            except ImageError:
                return None  # the second decoder may know better, or say what is wrong
            why = self._unstreamable(seen)
        if why and must:
            raise UsageError(f"{must} is for pictures that are computed in tiles from the disk; {why}")
        if why or seen is None:
            return None
        layout = seen.layout
        tile = self.models.of(self.models.scales[0]).tile
        large = tile != 0 and layout.height * layout.width > AUTO_WHOLE
        return seen if must or large else None

    def _unstreamable(self, seen: Look) -> str:
        """What keeps a picture from being streamed, in words; empty if nothing does."""
        layout = seen.layout
        low = (layout.height, layout.width)
        high = self.settings.size.of(*low, default=self.models.default_scale)
        scale = self.models.reaching(low, high).scale
        if layout.dtype == "float32":
            return "floating point needs the whole picture"
        if layout.alpha and self.settings.alpha_by == "model" and layout.height * layout.width <= HELD:
            return "transparency enlarged by the model needs the whole picture; add --alpha bicubic"
        if seen.pages > 1:
            return "one of several pages cannot be"
        if high != (scale * low[0], scale * low[1]):
            return f"sizes other than x{scale} need the whole picture"
        return ""

    def _read(self, work: _Work, page: int) -> Picture:
        source = self._content if work.job.source == STREAM else work.job.source
        return read(source, color=self.settings.color, max_pixels=self.settings.max_pixels, page=page)

    def _is_there(self, work: _Work) -> bool:
        job, existing = work.job, self.settings.existing
        if job.target == STREAM:
            return False
        both = job.source != STREAM and job.source.exists() and job.target.exists()
        if both and job.source.samefile(job.target):
            raise OutputError(f"{shown(job.target)}: is the input itself; name another file with -o")
        if job.source != STREAM:
            require_regular(job.source)
        if self.manifest is not None:
            work.sha256 = digest(job.source) if job.source != STREAM else ""
            if existing == "resume":
                done = self.manifest.done(
                    job.found.relative, work.sha256, self._options, route_map=job.route_map is not None
                )
                if done is not None:
                    self._remember(job, done)
                    return True
        there = existing == "skip" and job.target.is_file()
        if there:
            self._require_same_input(work, job.target)
        return there

    def _remember(self, job: Job, done: dict[str, Any]) -> None:
        """Tell of a result that is there already what was told when it was made."""
        assert self.settings.folder is not None
        target = self.settings.folder / done["output"]
        self.facts.append({**done["facts"], "input": str(job.source), "output": str(target)})

    def _require_same_input(self, work: _Work, path: Path) -> None:
        """Refuse to replace, or to count as done, what was made from another picture.

        Raises:
            OutputError: it was.
        """
        if self.manifest is None or not path.is_file():
            return
        other = self.manifest.other_source(path, work.job.source, work.sha256)
        if other is not None:
            raise OutputError(
                f"{shown(path)}: was made from another picture, {shown(other)}; name another folder with -o"
            )

    # compute ----------------------------------------------------------------------------------------

    def compute(self, job: Job, work: _Work) -> _Work:
        """Enlarge a picture, its target checked and settled first."""
        if work.seen is not None:
            return self._stream(work, work.seen)
        if work.low is None:
            return work
        began = time.perf_counter()
        self.bar.begin(shown(job.source.name))
        with self._recorded(work):
            high = self._size(work.low)
            work.panorama = self._panorama(work, work.low)
            low = (work.low.height, work.low.width)
            work.upscaler = self.models.reaching(low, high, panorama=work.panorama)
            work.job = self._settled(work, high)
            self._claim(work, high)
            if work.pages > 1 and work.job.target.suffix.lower() in (".tif", ".tiff"):
                self._write_pages(work)
            else:
                if work.pages > 1:
                    work.notes.append(f"only the first of {work.pages} pages is read")
                    work.pages = 1
                work.cost, work.high = self._enlarge(work, work.low)
        work.seconds += time.perf_counter() - began
        return work

    def _stream(self, work: _Work, seen: Look) -> _Work:
        """Enlarge a large picture from disk to disk."""
        began = time.perf_counter()
        self.bar.begin(shown(work.job.source.name))
        with self._recorded(work):
            low = (seen.layout.height, seen.layout.width)
            high = self.settings.size.of(*low, default=self.models.default_scale)
            work.panorama, _ = panorama_of(seen.metadata, *low, self.settings.projection)
            work.upscaler = self.models.reaching(low, high, panorama=work.panorama)
            work.job = self._settled(work, high)
            self._claim(work, high)
            work.streamed = enlarge_huge(
                work.upscaler,
                work.job.source,
                work.job.target,
                self.settings.budget,
                partial(self.bar.say, name=shown(work.job.source.name)),
                self.bar,
                color=self.settings.color,
                max_pixels=self.settings.max_pixels,
                projection=self.settings.projection,
                write=self.settings.options,
            )
            work.cost = work.streamed.cost
            work.notes += work.streamed.notes
            if seen.layout.alpha and self.settings.alpha_by == "model":
                work.notes.append("its transparency was enlarged bicubically: too large for the model")
        work.seconds += time.perf_counter() - began
        return work

    def _panorama(self, work: _Work, picture: Picture) -> Panorama | None:
        panorama, remark = panorama_of(
            picture.metadata, picture.height, picture.width, self.settings.projection
        )
        if remark:
            work.notes.append(remark)
        return panorama

    def _size(self, picture: Picture) -> tuple[int, int]:
        return self.settings.size.of(picture.height, picture.width, default=self.models.default_scale)

    def _enlarge(self, work: _Work, picture: Picture) -> tuple[Enlarged | None, Picture]:
        assert work.upscaler is not None
        return enlarge(
            work.upscaler,
            picture,
            size=self._size(picture),
            attention_ratio=self.settings.budget.attention_ratio,
            max_share=self.settings.budget.max_share,
            alpha_by=self.settings.alpha_by,
            progress=self.bar,
            panorama=work.panorama,
        )

    def _settled(self, work: _Work, high: tuple[int, int]) -> Job:
        """Choose the format now that the picture is known."""
        job, low = work.job, work.low or work.seen
        assert low is not None
        if job.settled:
            return job
        suffix, why = suffix_for(
            low.kind,
            height=high[0],
            width=high[1],
            depth=low.depth,
            name_suffix=job.source.suffix,
            wide=PNG_COLOUR in low.metadata,
        )
        if why:
            work.notes.append(why)
        named = WRITABLE.get(job.source.suffix.lower())
        if named is not None and named.kind != low.kind and not why:
            work.notes.append(
                f"its name says {named.kind}, its content is {low.kind}; the result is {suffix}"
            )
        if job.target == STREAM:
            return replace(job, target=STREAM)
        return job if suffix == job.target.suffix else with_suffix(job, suffix, self._taken)

    def _stream_suffix(self, work: _Work) -> str:
        assert work.low is not None
        low = work.low
        return (
            self.settings.suffix
            or suffix_for(low.kind, height=1, width=1, depth=low.depth, wide=PNG_COLOUR in low.metadata)[0]
        )

    def _claim(self, work: _Work, high: tuple[int, int]) -> None:
        """Make sure that the targets can be written, and may be."""
        job = work.job
        paths = [path for path in (job.target, job.route_map) if path is not None and path != STREAM]
        for path in paths:
            if self.settings.folder is not None and job.found.searched:
                folder = self.settings.folder if path == job.target else path.parent
                require_inside(path, folder)
                make_folder(path.parent)
            ours = (
                self.manifest is not None
                and self.settings.existing == "resume"
                and self.manifest.is_ours(path)
            )
            self._require_same_input(work, path)
            if self.settings.existing != "overwrite" and not ours:
                refuse_existing(path)
            if self.manifest is not None and path == job.target:
                self.manifest.clear(path)
            size = high if path == job.target else (1, 1)
            check_writable(path, height=size[0], width=size[1])
        if self.manifest is not None:
            self._note(work, "begun")

    def _write_pages(self, work: _Work) -> None:
        """Enlarge page by page, so that only one is in memory."""
        first = work.low
        assert first is not None

        def pages() -> Generator[Picture, None, None]:
            for number in range(work.pages):
                picture = first if number == 0 else self._read(work, number)
                low = (picture.height, picture.width)
                work.panorama = self._panorama(work, picture)
                size = self._size(picture)
                work.upscaler = self.models.reaching(low, size, panorama=work.panorama)
                cost, high = self._enlarge(work, picture)
                if number == 0:
                    work.cost, work.high = cost, high
                yield high

        work.notes += write_pages(work.job.target, pages(), self.settings.options, count=work.pages)

    # encode -----------------------------------------------------------------------------------------

    def encode(self, job: Job, work: _Work) -> None:
        """Write a picture, and say what was done."""
        if work.low is None and work.seen is None:
            self.skipped += 1
            return
        assert work.upscaler is not None
        began = time.perf_counter()
        job = work.job
        with self._recorded(work):
            window = work.upscaler.model.config.window
            if job.target == STREAM:
                self._write_to_stream(work)
            elif work.high is not None and work.pages == 1:
                work.notes += write(job.target, work.high, self.settings.options)
            if job.route_map is not None and work.streamed is not None:
                write_huge_route_map(job.route_map, job.source, work.streamed, window)
            elif job.route_map is not None and work.cost is not None and work.low is not None:
                _write_route_map(job.route_map, work.low.pixels, work.cost, window)
        work.seconds += time.perf_counter() - began
        head = work.low or work.seen
        said = head.notes if head is not None else ()
        for note in dict.fromkeys((*said, *work.notes)):
            print(f"camixersr: {shown(job.source)}: {note}", file=sys.stderr)
        facts = self._facts(work)
        self.facts.append(facts)
        print(_summary(facts), file=sys.stderr if job.target == STREAM else sys.stdout)
        if self.manifest is not None:
            self._note(work, "done", bytes=job.target.stat().st_size, facts=facts)

    def _write_to_stream(self, work: _Work) -> None:
        assert work.high is not None
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"result{self._stream_suffix(work)}"
            work.notes += write(path, work.high, self.settings.options)
            with path.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()

    def _facts(self, work: _Work) -> dict[str, Any]:
        cost, upscaler, streamed = work.cost, work.upscaler, work.streamed
        low = streamed.look.layout if streamed else work.low
        high = streamed.layout if streamed else work.high
        assert low is not None
        assert high is not None
        assert upscaler is not None
        return {
            "input": str(work.job.source),
            "output": str(work.job.target),
            "scale": upscaler.scale,
            "model": upscaler.model.name,
            "projection": "flat" if work.panorama is None else "erp",
            "low_size": [low.width, low.height],
            "high_size": [high.width, high.height],
            "pages": work.pages,
            "seconds": round(work.seconds, 3),
            "peak_memory_bytes": cost.peak_memory_bytes if cost else None,
            "attention_ratio": (
                streamed.attention_ratio if streamed else self.settings.budget.attention_ratio
            ),
            "attention_share": round(cost.attention_share, 4) if cost else 0.0,
            "macs": cost.macs if cost else 0,
            "tiles": cost.tiles if cost else 0,
            "device": ",".join(str(each) for each in upscaler.devices),
            "backend": upscaler.backend,
            "precision": cost.precision if cost else upscaler.precision,
            "version": __version__,
            **self._restored(work, upscaler.model),
            **_class_facts(cost),
            **(facts_of(streamed) if streamed else {}),
        }

    @staticmethod
    def _restored(work: _Work, model: Model) -> dict[str, Any]:
        """What the facts of a restored picture have beside the usual."""
        return (
            {} if model.restores is None else {"restores": asdict(model.restores), "quality": work.quality}
        )

    # record -----------------------------------------------------------------------------------------

    @contextmanager
    def _recorded(self, work: _Work) -> Generator[None, None, None]:
        """Write an error into the manifest."""
        try:
            yield
        except Exception as error:
            if self.manifest is not None:
                self._note(work, "failed", error=" ".join(str(error).split()))
            raise

    def _note(self, work: _Work, result: str, **facts: Any) -> None:
        assert self.manifest is not None
        with self._recording:
            job = work.job
            self.manifest.note(
                job.source,
                job.found.relative,
                job.target,
                result=result,
                route_map=job.route_map,
                sha256=work.sha256,
                options=self._options,
                **facts,
            )


def _summary(facts: dict[str, Any]) -> str:
    memory = facts["peak_memory_bytes"]
    return ", ".join(
        (
            f"{shown(facts['output'])}: {' x '.join(map(str, facts['low_size']))}"
            + (f" -> {' x '.join(map(str, facts['high_size']))}" if "restores" not in facts else ""),
            *([f"{facts['pages']} pages"] if facts["pages"] > 1 else []),
            f"{facts['seconds']:.1f} s",
            f"peak {memory / 2**20:.0f} MiB" if memory else "peak memory unknown",
            f"{100 * facts['attention_share']:.0f} % of windows attended",
        )
    )


def _class_facts(cost: Cost | None) -> dict[str, Any]:
    """The share of windows in each class, of a ClassSR."""
    if cost is None or cost.classes is None:
        return {}
    from camixersr.routemap import class_shares

    return {"classes": [round(share, 4) for share in class_shares(cost.classes)]}


def _write_route_map(path: Path, pixels: Any, enlarged: Cost, window: int) -> None:
    import numpy as np

    from camixersr.routemap import render

    image = pixels
    if image.dtype.kind == "f":
        image = (image.clip(0.0, 1.0) * 255.0).astype(np.uint8)
    elif image.dtype == np.uint16:
        image = (image // 257).astype(np.uint8)
    image = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
    canvas = render(
        image,
        enlarged.shares,
        side=window,
        attention_share=enlarged.attention_share,
        classes=enlarged.classes,
    )
    write(path, Picture(np.asarray(canvas)))
