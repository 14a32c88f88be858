#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""franz-go's own tests, as its module carries them: those that want a broker get this one, the others run as well.

    go_test_suite.py PROGRAM FOLDER BOOTSTRAP [TEST…]

PROGRAM is what `go test -c` made of the package in FOLDER. Results are said as in python/scenarios.py, one for each subtest and each test without them.
"""

import os
import re
import subprocess
import sys
import tempfile

LIMIT_SECONDS = 840
RESULT = re.compile(r"^ *--- (PASS|FAIL|SKIP): (\S+) \(")
OUTCOME = {"PASS": "ok", "FAIL": "failed", "SKIP": "skipped"}


def main():
    (program, folder, address), only = sys.argv[1:4], sys.argv[4:]
    with tempfile.NamedTemporaryFile("w", prefix="compat-go-test-", suffix=".log", delete=False) as log:
        env = {**os.environ, "KGO_SEEDS": address, "KGO_TEST_RF": "1", "KGO_LOG_LEVEL": "none"}
        child = subprocess.Popen([program, "-test.v", f"-test.timeout={LIMIT_SECONDS}s", *([f"-test.run=^({'|'.join(only)})$"] if only else [])],
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=env, cwd=folder)
        results = {}
        for line in child.stdout:
            log.write(line)
            found = RESULT.match(line)
            if found:
                results[found[2]] = OUTCOME[found[1]]
    status = child.wait()
    failed = {name for name, outcome in results.items() if outcome == "failed"}
    above = {name[:at] for name in results for at in range(len(name)) if name[at] == "/" and (name in failed or name[:at] not in failed)}
    for name in (n for n in results if n not in above and not n.startswith("Fuzz")):
        print(f"{results[name]} {name}" + (f": {log.name}" if results[name] == "failed" else ""), flush=True)
    if bool(status) != bool(failed):
        print(f"failed (the program): status {status}, {log.name}", flush=True)
    elif not failed:
        os.unlink(log.name)
    return 1 if failed or status else 0


if __name__ == "__main__":
    sys.exit(main())
