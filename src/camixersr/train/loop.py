"""The one training loop, of networks and of classifiers: steps, checkpoints, signals and the log.

What a step is, what is measured and how fast weights learn is the module's affair; how often and how long,
what is kept, and how a run stops and goes on is the loop's.
"""

import logging
import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy

from camixersr.errors import OutputError
from camixersr.train.callbacks import ProgressLines, Stopper, WholeCheckpoints

__all__ = ["Learning", "Loop"]


class Learning(lightning.LightningModule):
    """What a loop trains; its checkpoints take the clock along.

    Args:
        seconds: trained before.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self._began = time.perf_counter() - seconds

    @property
    def elapsed(self) -> float:
        """Seconds trained, over all resumptions."""
        return time.perf_counter() - self._began

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take along the clock."""
        checkpoint["seconds"] = self.elapsed

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the clock forward."""
        self._began = time.perf_counter() - checkpoint["seconds"]


@dataclass(frozen=True, kw_only=True)
class Loop:
    """How a module is trained.

    Attributes:
        output: folder for checkpoints and logs.
        name: of this loop among several in one folder.
        steps: of the optimiser.
        every: steps between checkpoints, and validations of a module that has them.
        keep: how many of the best checkpoints stay, by "psnr", beside the last; 0 without validation.
        ema: decay of the moving average of the weights, which is what is kept; None for no average.
        clip: largest norm of the gradient; None for any.
        half: compute in bfloat16 where torch does that well.
        on_cpu: leave accelerators alone.
        devices: processes on this machine.
    """

    output: Path
    name: str = ""
    steps: int
    every: int
    keep: int = 0
    ema: float | None = None
    clip: float | None = None
    half: bool = False
    on_cpu: bool = False
    devices: int = 1

    @property
    def last(self) -> Path:
        """The checkpoint that a run resumes from."""
        return self._checkpoints / "last.ckpt"

    @property
    def _checkpoints(self) -> Path:
        return self.output / "checkpoints" / self.name

    def run(
        self, module: Learning, *, resume: bool, callbacks: Sequence[lightning.Callback] = ()
    ) -> lightning.Trainer:
        """Train a module.

        Args:
            module: in the state it starts from.
            resume: continue from the last checkpoint, if there is one.
            callbacks: more to be told, before the average of the weights goes back to its place.

        Returns:
            The trainer, which knows where the module was trained.

        Raises:
            KeyboardInterrupt: stopped by a signal, after writing a checkpoint.
            OutputError: the folder cannot be written, or its disk is full; the last checkpoint stays.
        """
        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its hardware report and tips
        stopper = Stopper(str(self.last))
        trainer = self._trainer(stopper, callbacks)
        try:
            with warnings.catch_warnings():
                # Lightning advises workers and a logger of its own; a stream is cheaper than a worker.
                warnings.filterwarnings("ignore", module=r"lightning(\.|$)")
                checkpoint = str(self.last) if resume and self.last.exists() else None
                torch.set_flush_denormal(True)  # momenta of idle layers fade into them, 3x slower on a CPU
                trainer.fit(module, ckpt_path=checkpoint, weights_only=False)
        except OSError as error:
            raise OutputError(
                f"{self.output}: cannot write ({error.strerror or error}); the last checkpoint is whole: "
                "make room and run again with --resume"
            ) from error
        finally:
            torch.set_flush_denormal(False)
        if stopper.stopped or trainer.interrupted:
            raise KeyboardInterrupt
        return trainer

    def _trainer(self, stopper: Stopper, callbacks: Sequence[lightning.Callback]) -> lightning.Trainer:
        # torchrun has started the processes already, and says so in the environment
        devices = int(os.environ.get("LOCAL_WORLD_SIZE", self.devices))
        nodes = int(os.environ.get("GROUP_WORLD_SIZE", 1))
        kept = []
        if self.keep:  # the best; Lightning's own `save_last` only follows when one is better
            kept.append(
                ModelCheckpoint(
                    self._checkpoints,
                    filename="{step}-{psnr:.3f}",
                    monitor="psnr",
                    mode="max",
                    save_top_k=self.keep,
                )
            )
        kept.append(
            ModelCheckpoint(
                self._checkpoints,
                filename="last",
                enable_version_counter=False,
                every_n_train_steps=None if self.keep else self.every,  # None: after a validation
            )
        )
        return lightning.Trainer(
            accelerator="cpu" if self.on_cpu else "auto",
            devices=devices,
            num_nodes=nodes,
            # a block that attends nothing leaves its queries, keys and offsets without gradients
            strategy=DDPStrategy(find_unused_parameters=True) if devices * nodes > 1 else "auto",
            precision="bf16-mixed" if self.half else "32-true",
            max_steps=self.steps,
            val_check_interval=self.every,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=0,
            gradient_clip_val=self.clip,
            logger=TensorBoardLogger(self.output, name="log", version=self.name or 0),
            plugins=[WholeCheckpoints()],
            callbacks=[
                *callbacks,
                *([] if self.ema is None else [EMAWeightAveraging(decay=self.ema)]),
                stopper,
                ProgressLines(),
                *kept,
            ],
            enable_progress_bar=False,
            enable_model_summary=False,
            log_every_n_steps=max(1, min(20, self.steps // 50)),
        )
