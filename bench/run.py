"""The benches: `./dev bench [broker] [flow] [security]`, or parts of them by name: start throughput … (no name: all).

The reports go to build/bench/<name>.md and to standard output; at the end comes a table of the targets and whether they are met. BENCH_SCALE=0.2 takes a fifth of every count and duration.
"""

import shutil
import sys

import broker
import flow
import flow_life
import security_bench
from common import WORK, report_targets

GROUPS = {"broker": broker.BENCHES, "flow": {**flow.BENCHES, **flow_life.BENCHES}, "security": security_bench.BENCHES}


def main():
    benches = {}
    for name in sys.argv[1:] or GROUPS:
        found = GROUPS.get(name) or {part: run for group in GROUPS.values() for part, run in group.items() if part == name}
        if not found:
            raise SystemExit(f"no such bench: {name} (there are: {', '.join([*GROUPS, *(part for group in GROUPS.values() for part in group)])})")
        benches |= found
    try:
        for run in benches.values():
            run()
        report_targets()
    finally:
        shutil.rmtree(WORK, ignore_errors=True)


if __name__ == "__main__":
    main()
