"""`camixersr prune`: a smaller model from a trained one."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from camixersr.cli.talk import say
from camixersr.errors import MissingExtraError, OutputError, UsageError
from camixersr.extras import install_line

if TYPE_CHECKING:
    from camixersr.prune.run import Result
    from camixersr.prune.search import Quantity

__all__ = ["prune"]


def prune(
    model: str = "s-x4",
    /,
    *,
    data: Path,
    macs: float | None = None,
    parameters: float | None = None,
    seconds: float | None = None,
    attention_ratio: float = 0.5,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    fine_tune: Path | None = None,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
    json_: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Make a model smaller: narrower attention, mixers and feed-forwards. See docs/pruning.md.

    Parameters
    ----------
    model
        A name from `camixersr models list`, or a file of weights.
    data
        Folder of photographs like those the model was trained on. 32 of them are used.
    macs
        Share of the multiply-adds that may remain, between 0 and 1. Give this, --parameters or --seconds.
    parameters
        Share of the weights that may remain.
    seconds
        Share of the time that may remain, measured on this machine's CPU.
    attention_ratio
        Share of windows with attention for which multiply-adds and seconds are counted.
    output
        File to write. Default: the model's name with -pruned, in the current folder.
    fine_tune
        Recipe (TOML) to train the smaller model by afterwards. The training starts from the file. The
        trained model lies in the recipe's output folder.
    overwrite
        Replace the file if it exists.
    json_
        Print the report as JSON.
    """
    given: dict[Quantity, float | None] = {"macs": macs, "parameters": parameters, "seconds": seconds}
    targets: dict[Quantity, float] = {name: share for name, share in given.items() if share is not None}
    if len(targets) != 1:
        raise UsageError("expected one of --macs, --parameters and --seconds: the share that may remain")
    from dataclasses import replace

    from camixersr.catalogue import find
    from camixersr.image.files import require_writable
    from camixersr.prune.run import prune as make_smaller
    from camixersr.train.recipe import load_recipe
    from camixersr.weights import save

    recipe = None if fine_tune is None else load_recipe(fine_tune)
    train = None
    if recipe is not None:
        try:
            from camixersr.train.fit import fit as train
        except ImportError as error:
            raise MissingExtraError(
                f"training needs the extra `train` ({error}); {install_line('train')}"
            ) from error
    loaded = find(model)
    target = output or Path(f"{loaded.name}-pruned.safetensors")
    if target.suffix != ".safetensors":
        raise UsageError(f"expected an output ending in .safetensors, got {target}")
    if target.exists() and not overwrite:
        raise OutputError(f"{target}: exists already; add --overwrite to replace it")
    require_writable(target)
    ((of, share),) = targets.items()
    result = make_smaller(
        loaded,
        data,
        of=of,
        to=share,
        attention_ratio=attention_ratio,
        name=target.stem,
        say=say,
    )
    save(target, result.model)
    if json_:
        print(
            json.dumps(
                {"file": str(target), "attention_ratio": attention_ratio, **_facts(result)}, indent=2
            )
        )
    else:
        _print(result, attention_ratio)
        print(target)
    if recipe is not None and train is not None:
        print(train(replace(recipe, start=str(target))))


def _facts(result: "Result") -> dict[str, object]:
    pruned = result.pruned
    return {
        "config": asdict(pruned.network.config),
        "before": {**asdict(pruned.before), "psnr_db": result.psnr_before},
        "after": {**asdict(pruned.after), "psnr_db": result.psnr_after},
        "change_db": pruned.change_db,
        "damages": pruned.damages,
    }


def _print(result: "Result", ratio: float) -> None:
    from rich.table import Table

    from camixersr.cli.tables import print_table

    before, after = result.pruned.before, result.pruned.after
    table = Table("", "before", "after", "share", box=None, pad_edge=False)
    for name, unit, one, two in (
        ("parameters", ",", before.parameters, after.parameters),
        (f"GMACs for 1280 x 720, ratio {ratio:g}", ".1f", before.macs / 1e9, after.macs / 1e9),
        ("seconds for 256 x 192 low pixels", ".3f", before.seconds, after.seconds),
    ):
        table.add_row(name, format(one, unit), format(two, unit), f"{two / one:.3f}")
    table.add_row(
        "PSNR on the photographs, dB", f"{result.psnr_before:.3f}", f"{result.psnr_after:.3f}", ""
    )
    print_table(table)
    print(f"its pictures are {result.pruned.change_db:.1f} dB from those before")
