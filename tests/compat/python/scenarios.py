# SPDX-License-Identifier: Apache-2.0
"""What the Python suites share: scenarios by name, one line of result each, a broker restart on request.

A suite is a program: BOOTSTRAP [SCENARIO…]. It prints `ok NAME`, `failed NAME: REASON` or `skipped NAME: REASON` for each scenario,
and `restart` when it wants the broker restarted; the runner (../run.py) answers a line when that is done. The suites in
other languages speak the same.
"""

import os
import signal
import sys
import time
import traceback
import uuid

SCENARIOS = []
LIMIT_SECONDS = 90


class Skip(Exception):
    """The client cannot do it: said, and neither passed nor failed."""


class TooLong(BaseException):
    """Not an Exception: no client may swallow it."""


def scenario(function):
    SCENARIOS.append(function)
    return function


def fresh(name):
    return f"{name}-{uuid.uuid4().hex[:10]}"


def restart_broker():
    print("restart", flush=True)
    assert sys.stdin.readline().strip() == "restarted", "the runner did not restart the broker"


def wait_for(condition, what, seconds=40, period=0.01):
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(period)


def refused(error, call, name=None):
    """The call must end in this error; the name of it, when asked for, must be in its words."""
    try:
        call()
    except error as e:
        assert name is None or name in repr(e) or name in str(e), f"wanted {name}, got {e!r}"
        return e
    raise AssertionError(f"was taken, wanted {name or error}")


def too_long(_signal, _frame):
    raise TooLong(f"took longer than {LIMIT_SECONDS} s")


def reason_of(e):
    frames = [f for f in traceback.extract_tb(e.__traceback__) if "_suite" in f.filename] or traceback.extract_tb(e.__traceback__)
    where = frames[-1].lineno if frames else 0
    return " ".join(f"{type(e).__name__}: {e} (line {where})".split())[:400]


def main(run=lambda function, address: function(address)):
    address, names = sys.argv[1], sys.argv[2:]
    signal.signal(signal.SIGALRM, too_long)
    failed = 0
    for function in SCENARIOS:
        name = function.__name__
        if names and name not in names:
            continue
        signal.alarm(LIMIT_SECONDS)
        try:
            run(function, address)
            line = f"ok {name}"
        except Skip as e:
            line = f"skipped {name}: {e}"
        except (Exception, TooLong) as e:  # any failure of a scenario is a result, and the next one runs
            line, failed = f"failed {name}: {reason_of(e)}", failed + 1
            if os.environ.get("COMPAT_TRACE"):
                traceback.print_exc()
        signal.alarm(0)
        print(line, flush=True)
    os._exit(1 if failed else 0)  # clients of failed scenarios may have threads that never end
