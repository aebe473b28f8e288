"""``python -m faults.simulation SEED`` replays one seed and tells what happens; ``--seeds N`` runs many and tells what failed."""

import argparse
import sys
import time

from faults.simulation import simulate


def main() -> int:
    parser = argparse.ArgumentParser(prog="faults.simulation", description=__doc__)
    parser.add_argument("seed", type=int, nargs="?")
    parser.add_argument("--seeds", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    args = parser.parse_args()
    if args.seed is not None:
        outcome = simulate(args.seed, trace=print)
        print(outcome if outcome.wrong else "all is well")
        return int(bool(outcome.wrong))
    failed = 0
    started = time.perf_counter()
    for seed in range(args.first, args.first + args.seeds):
        outcome = simulate(seed)
        if outcome.wrong:
            failed += 1
            print(outcome, flush=True)
    print(f"{args.seeds} seeds, {failed} failed, {time.perf_counter() - started:.1f} s")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
