"""What happens around a run: checkpoints written whole, stopping politely, telling how it goes."""

import io
import logging
import os
import signal
import sys
import time
import warnings
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.loggers import TensorBoardLogger

from camixersr.image.files import make_folder, replacing
from camixersr.nn.routing import TopShare
from camixersr.routemap import render
from camixersr.tensors import from_array, to_array

__all__ = ["PictureLog", "ProgressLines", "SaturationAlarm", "Stopper", "WholeCheckpoints"]

logger = logging.getLogger(__name__)

SETTLED = 200
"""Steps before the scores of a fresh network say anything."""


class WholeCheckpoints(TorchCheckpointIO):
    """Checkpoints replaced in one move: a kill or a full disk leaves the one before as it was."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        """Write beside `path`, flush to the disk, rename."""
        target = Path(path)
        make_folder(target.parent)
        data = io.BytesIO()  # torch.save straight to a full disk hides the OSError behind one of its own
        torch.save(checkpoint, data)
        with replacing(target) as partial, partial.open("wb") as stream:
            stream.write(data.getbuffer())
            stream.flush()
            os.fsync(stream.fileno())


class Stopper(Callback):
    """Ctrl-C or SIGTERM ends the run after the step under way, with a checkpoint to resume from.

    Must come after the callback that averages the weights, so that the step is whole. A second
    signal stops at once.

    Args:
        file: the checkpoint to write.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self.stopped = False
        self._before: dict[int, Any] = {}

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self.stopped:
            raise KeyboardInterrupt
        self.stopped = True
        logger.info("stopping after this step")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen."""
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._before[number] = signal.signal(number, self._stop)
            except ValueError:  # only the main thread may listen; elsewhere the caller stops us
                return

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write the checkpoint and stop, if asked to."""
        # all processes stop at the same step, whichever got the signal
        if trainer.world_size > 1:
            self.stopped = bool(trainer.strategy.reduce_boolean_decision(self.stopped, all=False))
        if self.stopped and trainer.global_step < trainer.max_steps:
            trainer.save_checkpoint(self.file)
            trainer.should_stop = True
        else:
            self.stopped = False

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Listen no more."""
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before.clear()


class ProgressLines(Callback):
    """Step, speed, score and remaining time: a line that renews itself, or one a validation in a file."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._began = 0.0
        self._first = 0
        self._told = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._began, self._first = time.perf_counter(), trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Renew the line, five times a second at most."""
        now = time.perf_counter()
        if self._terminal and trainer.is_global_zero and now - self._told > 0.2:
            self._told = now
            sys.stderr.write(f"\r{self._line(trainer)}\x1b[K")
            sys.stderr.flush()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A line that stays."""
        if trainer.is_global_zero:
            if self._terminal:
                sys.stderr.write("\r\x1b[K")
            logger.info("%s", self._line(trainer))

    def _line(self, trainer: Trainer) -> str:
        done = trainer.global_step - self._first
        each = (time.perf_counter() - self._began) / max(1, done)
        minutes, seconds = divmod(round(each * (trainer.max_steps - trainer.global_step)), 60)
        known = trainer.callback_metrics
        psnr = f", {float(known['psnr']):.3f} dB" if "psnr" in known else ""
        return (
            f"step {trainer.global_step} of {trainer.max_steps}, {1 / max(each, 1e-9):.2f} steps/s{psnr}, "
            f"{minutes // 60} h {minutes % 60:02} min {seconds:02} s left"
        )


class SaturationAlarm(Callback):
    """Warn when blocks stop choosing: their scores are nearly equal for every window of a batch.

    That is how the paper's own routing ends: half the blocks always on, half always off.
    """

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Look at the last batch's scores."""
        if pl_module.flat_blocks and trainer.global_step > SETTLED and trainer.is_global_zero:
            blocks = ", ".join(map(str, pl_module.flat_blocks))
            warnings.warn(
                f"step {trainer.global_step}: routing is saturated in block {blocks}: its scores tell "
                "no window from another; raise routing_weight, or lower learning_rate",
                stacklevel=1,
            )


class PictureLog(Callback):
    """The first validation picture in TensorBoard: as enlarged now, and where attention goes."""

    @torch.no_grad()
    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Draw. Comes before the averaged weights are put back, so it shows what is scored."""
        if not isinstance(trainer.logger, TensorBoardLogger) or not trainer.is_global_zero:
            return
        low, _ = pl_module.images[0]
        network, scale = pl_module.network, pl_module.network.config.scale
        image = from_array(low)[None].to(pl_module.device)
        result, routing = network.route(image, TopShare(pl_module.recipe.ratio))
        picture = to_array(result[0].float().cpu())
        board: Any = trainer.logger.experiment
        board.add_image("picture", picture, trainer.global_step, dataformats="HWC")
        if not routing.blocks:  # nobody chose
            return
        shares = routing.attended[:, 0].double().mean(dim=0).reshape(routing.rows, routing.columns)
        share = float(routing.attention_share.mean())
        side = network.config.window * scale
        drawn = render(picture, shares.cpu().numpy(), side=side, attention_share=share)
        board.add_image("attention", np.asarray(drawn), trainer.global_step, dataformats="HWC")
