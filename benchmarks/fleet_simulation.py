"""A thousand workers with failures, simulated over the seconds that pictures really took.

    python benchmarks/fleet_simulation.py RESULTS [--workers 1000] [--pictures 1000000]

RESULTS is a folder that `camixersr fleet upscale` wrote; the seconds of its rows are drawn from. Ray hands
out a task when a worker is free, so many a second at most; workers die at a rate an hour, lose what they
had under way, and begin again after the time that a start takes.
"""

import argparse
import heapq
import json
from pathlib import Path

import numpy as np


def seconds_of(results: Path) -> np.ndarray:
    """What pictures took, with a result or without."""
    rows = [
        json.loads(line)
        for part in (results / "camixersr-fleet" / "rows").glob("[!.]*.jsonl")
        for line in part.read_text().splitlines()
    ]
    return np.array([row["seconds"] for row in rows if row["status"] == "done"])


def simulate(
    measured: np.ndarray,
    *,
    workers: int,
    pictures: int,
    deaths_an_hour: float,
    start: float,
    tasks_a_second: float,
    a_task: int,
    seed: int = 0,
) -> dict[str, float]:
    """Seconds until all is done, and what became of workers' time.

    A picture whose worker dies is begun again by another; a task whose worker dies is handed out again, but
    the ledger knows which of its pictures are done.
    """
    rng = np.random.default_rng(seed)
    rate = deaths_an_hour / 3600.0
    tasks = -(-pictures // a_task)
    waiting = [a_task] * tasks
    waiting[-1] = pictures - a_task * (tasks - 1)
    free = [(start * rng.uniform(0.8, 1.2), worker) for worker in range(workers)]
    heapq.heapify(free)
    handed, computed, lost, deaths, last = 0.0, 0.0, 0.0, 0, 0.0
    while waiting:
        count = waiting.pop()
        at, worker = heapq.heappop(free)
        handed = at = max(at, handed + 1.0 / tasks_a_second)
        took = rng.choice(measured, count)
        ends = np.cumsum(took)
        death = rng.exponential(1.0 / rate) if rate else np.inf
        if death >= ends[-1]:
            computed += ends[-1]
            heapq.heappush(free, (at + ends[-1], worker))
            last = max(last, at + ends[-1])
            continue
        done = int(np.searchsorted(ends, death))
        computed += ends[done - 1] if done else 0.0
        lost += death - (ends[done - 1] if done else 0.0)
        deaths += 1
        waiting.append(count - done)
        heapq.heappush(free, (at + death + start, worker))
    return {
        "hours": last / 3600.0,
        "busy": computed / (last * workers),
        "lost": lost / (computed + lost),
        "deaths": deaths,
        "pictures_a_second": pictures / last,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("results", type=Path)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--pictures", type=int, default=1_000_000)
    parser.add_argument("--scale-seconds", type=float, default=1.0, help="times as long a picture")
    parser.add_argument("--start", type=float, default=20.0, help="seconds until a worker has its models")
    parser.add_argument("--tasks-a-second", type=float, default=100.0, help="that Ray hands out")
    arguments = parser.parse_args()
    measured = seconds_of(arguments.results) * arguments.scale_seconds
    print(f"{len(measured)} pictures measured, {measured.mean():.3f} s each on average")
    for a_task in (1, 16):
        for deaths in (0.0, 0.1, 1.0):
            found = simulate(
                measured,
                workers=arguments.workers,
                pictures=arguments.pictures,
                deaths_an_hour=deaths,
                start=arguments.start,
                tasks_a_second=arguments.tasks_a_second,
                a_task=a_task,
            )
            print(
                f"{a_task:2} a task, {deaths:g} deaths a worker and hour: {found['hours']:.2f} h, "
                f"{100 * found['busy']:.1f} % busy, {100 * found['lost']:.3f} % lost, "
                f"{found['deaths']:.0f} deaths, {found['pictures_a_second']:.0f} pictures/s"
            )


if __name__ == "__main__":
    main()
