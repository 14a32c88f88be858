"""The benches: `./dev bench [broker] [flow]`, or parts of them by name: start throughput … (no name: all).

The reports go to build/bench/<name>.md and to standard output. BENCH_SCALE=0.2 takes a fifth of every count and duration.
"""

import shutil
import sys

import broker
import flow
from common import WORK

GROUPS = {"broker": broker.BENCHES, "flow": {"flow": flow.bench_flow, "remote": flow.bench_remote}}


def main():
    benches = {}
    for name in sys.argv[1:] or GROUPS:
        found = GROUPS.get(name) or {part: run for group in GROUPS.values() for part, run in group.items() if part == name}
        if not found:
            raise SystemExit(f"no such bench: {name} (there are: {', '.join(['flow', 'remote', 'broker', *broker.BENCHES])})")
        benches |= found
    try:
        for run in benches.values():
            run()
    finally:
        shutil.rmtree(WORK, ignore_errors=True)


if __name__ == "__main__":
    main()
