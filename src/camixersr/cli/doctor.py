"""`camixersr doctor`: what there is on this machine, and which backend was chosen and why."""

import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from camixersr.cli.talk import say

if TYPE_CHECKING:
    from camixersr.backends.fastest import Choice

__all__ = ["doctor"]

Flag = Parameter(negative=())


def doctor(
    *,
    measure: Annotated[bool, Flag] = False,
    model: str = "s-x4",
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
    json_: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Show this machine, its backends, the fastest of them as measured, and the cache folder.

    Parameters
    ----------
    measure
        Measure again which backend is the fastest, and keep the answer for --backend fastest.
    model
        Model to measure with: a name from `camixersr models list`, or a file of weights.
    device
        Device to measure on.
    precision
        Number format to measure in. auto: fp32.
    json_
        Print JSON instead of text.
    """
    from dataclasses import asdict

    from camixersr.backends.choose import available
    from camixersr.backends.fastest import choices, choose
    from camixersr.catalogue import cache_folder, find
    from camixersr.inference.computer import Computer
    from camixersr.speed.machine import describe

    computer = Computer(find(model), device=device, precision=precision)
    if measure:
        choose(
            computer.model,
            device=computer.device,
            precision=computer.precision,
            again=True,
            say=say,
        )
    there, chosen = available(computer.device), choices()
    facts = describe()
    if json_:
        kept = {
            "backends": [{**asdict(each), "kinds": sorted(each.kinds)} for each in there],
            "choices": [asdict(each) for each in chosen],
            "cache": str(cache_folder()),
        }
        print(json.dumps(facts | kept, indent=2))
        return
    _print_machine(facts)
    print(f"\nbackends on {computer.device}")
    for each in there:
        what = each.missing or f"{each.version}, {', '.join(each.precisions)}"
        print(f"  {each.name}: {what}")
    print("\nchosen by --backend fastest")
    for each in chosen:
        print(f"  {_reason(each)}")
    if not chosen:
        print("  nothing yet; measured on first use, or now with --measure")
    print(f"\ncache: {cache_folder()}")


def _print_machine(facts: dict[str, Any]) -> None:
    machine = facts["machine"]
    print(
        f"processor: {machine['cpu']}, {machine['usable_cores']} cores, {machine['threads']} threads used"
    )
    print(f"  has {', '.join(machine['features']) or 'nothing that is known here'}")
    if machine["memory_bytes"]:
        print(f"memory: {machine['memory_bytes'] / 1e9:.1f} GB")
    names = [f"{gpu['name']}, {gpu['memory_bytes'] / 1e9:.1f} GB" for gpu in machine["gpus"]]
    print(f"GPU: {'; '.join(names) or 'none that torch can use'}")
    print(f"versions: {', '.join(f'{name} {number}' for name, number in facts['versions'].items())}")


def _reason(choice: "Choice") -> str:
    """Which backend, and what the others take."""
    ordered = sorted(choice.microseconds.items(), key=lambda item: item[1])
    taken = ", ".join(f"{name} {value:g}" for name, value in ordered)
    left = "".join(f"; {name} left out: {why}" for name, why in choice.left_out.items())
    return (
        f"{choice.model} in {choice.precision} on {choice.device}, {choice.threads} threads: "
        f"{choice.backend} (microseconds a low pixel: {taken}{left})"
    )
