"""Replays one seed and tells what happens, or runs many (``--seeds``) and tells which failed; run it in ``tests/``."""

import argparse
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from faults.simulation import simulate


def main() -> int:
    """Return 0 when nothing was wrong."""
    parser = argparse.ArgumentParser(prog="faults.simulation", description=__doc__)
    parser.add_argument("seed", type=int, nargs="?")
    parser.add_argument("--seeds", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    args = parser.parse_args()
    return _many(args.first, args.seeds) if args.seed is None else _one(args.seed)


def _one(seed: int) -> int:
    outcome = simulate(seed, trace=print)
    print(outcome if outcome.wrong else "all is well")  # noqa: T201
    return int(bool(outcome.wrong))


def _many(first: int, seeds: int) -> int:
    failed, started = 0, time.perf_counter()
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        for outcome in pool.map(simulate, range(first, first + seeds), chunksize=10):
            if outcome.wrong:
                failed += 1
                print(outcome, flush=True)  # noqa: T201
    print(f"{seeds} seeds, {failed} failed, {time.perf_counter() - started:.0f} s")  # noqa: T201
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
