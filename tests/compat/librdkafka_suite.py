#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""librdkafka's own integration tests: every test of its test-runner that wants a broker, one process for each number.

    librdkafka_suite.py TESTS SCENARIO PROTOCOL BOOTSTRAP [TEST…]

TESTS is the folder of a built test-runner, SCENARIO the broker it expects (default; noautocreate: topics are not made by asking for
them), PROTOCOL the one of its groups (classic, consumer). What the runner's own table says of a test is its result. Results are said
as in python/scenarios.py. KAFKA_PATH is a folder with Apache Kafka's tools, which some tests call.
"""

import concurrent.futures
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

LIMIT_SECONDS, AT_ONCE = 1200, 2
VERSIONS = {"classic": "3.8.1", "consumer": "4.0.0"}  # that the tests are told; the newer groups came with 4.0
LONG = ("0113",)  # first, so that it runs beside the others
# Run by its subtests, which this function of this file calls: the first one that fails ends a process.
SPLIT = {"0081": ("0081-admin.c", "static void do_test_apis(")}
ENTRY = re.compile(r"_TEST\((\d{4}_\w+),\s*([^,)]*)([^;]*?)\)(?=,\s*(?:_TEST|#|/\*|\{NULL))", re.DOTALL)
ROW = re.compile(r"^\| +(\d{4}_\w+) *\| +(PASSED|FAILED|SKIPPED)", re.MULTILINE)


def wanted_tests(tests, scenario):
    """{number: [name]} of the tests that want a broker of this kind."""
    table = (tests / "test.c").read_text().split("struct test tests[] = {", 1)[1]
    table = table[:table.index("{NULL}") + 6]
    found = {}
    for name, flags, rest in ENTRY.findall(table):
        kinds = re.search(r'scenario = "([^"]*)"', rest)
        if "TEST_F_LOCAL" not in flags and "TEST_F_MANUAL" not in flags and scenario in (kinds[1] if kinds else "default").split(","):
            found.setdefault(name[:4], []).append(name)
    return dict(sorted(found.items(), key=lambda item: (item[0] not in LONG, item[0])))


def failure_of(text):
    """What the test says has failed."""
    lines = text.splitlines()
    at = next((i for i, line in enumerate(lines) if "TEST FAILURE" in line), None)
    return " ".join(" ".join(lines[-1:] if at is None else lines[at + 1:at + 3]).split())[:300]


def skip_of(text, name):
    said = re.search(rf"{name}\b[^\n]*(?:SKIP\w*|Skipping)[:\s]*(?:TEST:)?([^\n]*)", text)
    return " ".join(said[1].split())[:200] if said else "says the test"


def subtests(tests, number):
    source = (tests / SPLIT[number][0]).read_text().split(SPLIT[number][1], 1)[1].split("\n}\n", 1)[0] if number in SPLIT else ""
    return list(dict.fromkeys(re.findall(r"^ +(do_test_\w+)\(", source, re.MULTILINE))) or [None]


def run(tests, scenario, protocol, address, number, names, subtest, folder):
    """[(test, outcome, reason)] of one number, or of one subtest of it."""
    key = f"{number}-{subtest}" if subtest else number
    config, log = folder / f"{key}.conf", folder / f"{key}.log"
    config.write_text(f"bootstrap.servers={address}\ntest.topic.prefix=rdk{number}\ntest.topic.random=true\ntest.timeout.multiplier=3\n")
    env = {**os.environ, "TESTS": number, "TEST_SCENARIO": scenario, "TEST_KAFKA_VERSION": VERSIONS[protocol], "RDKAFKA_TEST_CONF": str(config),
           "BROKERS": address, "LD_LIBRARY_PATH": f"{tests}/../src:{tests}/../src-cpp", "TEST_CONSUMER_GROUP_PROTOCOL": protocol}
    if subtest:
        names = [f"{names[0]}/{subtest.removeprefix('do_test_')}"]
        env["SUBTESTS"] = f"{subtest}:"
    with open(log, "wb") as out:
        child = subprocess.Popen([tests / "test-runner", "-L", "-p1"], cwd=tests, env=env, stdin=subprocess.DEVNULL, stdout=out,
                                 stderr=subprocess.STDOUT, start_new_session=True)
        try:
            status = child.wait(LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)  # with the Java programs it may have started
            child.wait()
            return [(names[0], "failed", f"not done after {LIMIT_SECONDS} s ({log})")]
    text = re.sub(r"\x1b\[\d+m", "", log.read_text(errors="replace"))
    rows = {names[0] if subtest else name: outcome for name, outcome in ROW.findall(text)}
    if not rows:  # a test that fails ends the runner
        blamed = re.search(r'### Test "(\w+)', text)
        return [(blamed[1] if blamed and blamed[1] in names else names[0], "failed", f"status {status}: {failure_of(text)} ({log})")]
    reasons = {"PASSED": lambda name: "", "SKIPPED": lambda name: skip_of(text, name)}
    return [(name, {"PASSED": "ok", "SKIPPED": "skipped"}.get(rows.get(name), "failed"),
             reasons.get(rows.get(name), lambda name: f"{failure_of(text)} ({log})")(name)) for name in names]


def main():
    tests, (scenario, protocol, address), only = pathlib.Path(sys.argv[1]), sys.argv[2:5], sys.argv[5:]
    folder = pathlib.Path(tempfile.mkdtemp(prefix="compat-librdkafka-"))
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        runs = [pool.submit(run, tests, scenario, protocol, address, number, names, subtest, folder)
                for number, names in wanted_tests(tests, scenario).items() if not only or set(only) & {number, *names}
                for subtest in subtests(tests, number)]
        for done in concurrent.futures.as_completed(runs):
            for name, outcome, reason in done.result():
                failed += outcome == "failed"
                print(f"{outcome} {name}: {reason}" if reason else f"{outcome} {name}", flush=True)
    if not failed:
        shutil.rmtree(folder)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
