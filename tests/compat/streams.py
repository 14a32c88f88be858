#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kafka Streams with exactly_once_v2: the drivers of the kafka-streams 3.8.1 test jar, with processors killed by -9 and restarted.

    streams.py BOOTSTRAP [smoke|eos]

The smoke driver generates records, joins, aggregates and windows are computed by processors, and the driver checks every result; the
other one generates until it is told to end, and a third program verifies. Both must print ALL-RECORDS-DELIVERED. Results are said as
in python/scenarios.py.
"""

import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
LIBS = HERE.parents[1] / "build/compat/streams/libs"
TESTS = "org.apache.kafka.streams.tests."
SMOKE_TOPICS = ("data echo min min-suppressed min-raw max sum sws-raw sws-suppressed dif cnt avg wcnt tagg fk").split()
EOS_TOPICS = "data echo min min-suppressed sum repartition max cnt".split()
VERDICT, LIMIT_SECONDS, KILL_SECONDS, PARTITIONS = "ALL-RECORDS-DELIVERED", 420, 15, 5


class Program:
    """One JVM of a test class, with a state folder of its own."""

    def __init__(self, folder, name, kind, address, command):
        self.log = folder / f"{name}.log"
        properties = folder / f"{name}.properties"
        properties.write_text(f"bootstrap.servers={address}\nstate.dir={folder / name}\nprocessing.guarantee=exactly_once_v2\n"
                              "acceptable.recovery.lag=9223372036854775807\nsession.timeout.ms=10000\nnum.stream.threads=2\n")
        self.arguments = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"-Dlog4j.configuration=file:{HERE / 'streams-log4j.properties'}",
                          "-cp", f"{LIBS}/*", TESTS + kind, str(properties), command]
        self.start()

    def start(self):
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen(self.arguments, stdout=log, stderr=subprocess.STDOUT)

    def kill(self):
        self.child.kill()
        self.child.wait(30)

    def end(self, seconds=90):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def said(self):
        return self.log.read_text(errors="replace")


def tool(name, address, *options):
    return subprocess.run(["java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", f"{LIBS}/*", f"org.apache.kafka.tools.{name}", "--bootstrap-server", address, *options],
                          check=True, capture_output=True, timeout=60, text=True).stdout


def create(address, topics):
    """Made anew: both drivers have topics of the same names."""
    tool("TopicCommand", address, "--delete", "--if-exists", "--topic", "|".join(topics))
    for topic in topics:
        tool("TopicCommand", address, "--create", "--topic", topic, "--partitions", str(PARTITIONS), "--replication-factor", "1")


def wait_for_commits(address, group, topics, seconds):
    """Until every partition of the topics has an offset of the group; each look takes a JVM's start."""
    deadline, wanted, has = time.monotonic() + seconds, {(topic, str(n)) for topic in topics for n in range(PARTITIONS)}, set()
    while not wanted <= has:
        assert time.monotonic() < deadline, f"no offsets for {sorted(wanted - has)}"
        rows = (line.split() for line in tool("consumer.group.ConsumerGroupCommand", address, "--describe", "--offsets", "--group", group).splitlines())
        has = {(row[1], row[2]) for row in rows if len(row) > 3 and row[0] == group and row[3].isdigit()}


def kill_by_turns(processors, until, seconds):
    """kill -9 and a restart of one processor after the other until the condition holds."""
    deadline, kills, next_kill = time.monotonic() + seconds, 0, time.monotonic() + KILL_SECONDS
    while not until():
        assert time.monotonic() < deadline, f"not done after {seconds} s and {kills} kills"
        if time.monotonic() > next_kill:
            victim = processors[kills % len(processors)]
            victim.kill()
            victim.start()
            kills, next_kill = kills + 1, time.monotonic() + KILL_SECONDS
        time.sleep(0.2)
    return kills


def verdict_of(program):
    said = program.said()
    assert VERDICT in said, f"{program.log.name}: {' '.join(said.splitlines()[-3:])[:300]}"


def smoke(address, folder):
    create(address, SMOKE_TOPICS)
    processors = [Program(folder, f"processor-{n}", "StreamsSmokeTest", address, "process") for n in range(2)]
    driver = Program(folder, "driver", "StreamsSmokeTest", address, "run")
    try:
        assert kill_by_turns(processors, lambda: driver.child.poll() is not None, LIMIT_SECONDS) > 0, "it ended before anything was killed"
        verdict_of(driver)
    finally:
        for program in (driver, *processors):
            program.kill()


def eos(address, folder):
    create(address, EOS_TOPICS)
    processors = [Program(folder, f"processor-{n}", "StreamsEosTest", address, "process-complex") for n in range(2)]
    driver = Program(folder, "driver", "StreamsEosTest", address, "run")
    end = time.monotonic() + 75
    try:
        kill_by_turns(processors, lambda: time.monotonic() > end or driver.child.poll() is not None, LIMIT_SECONDS)
        driver.end()
        wait_for_commits(address, "EosTest", ("data", "repartition"), LIMIT_SECONDS)  # the verifier reads up to them
        for program in processors:
            program.end()
        verifier = Program(folder, "verifier", "StreamsEosTest", address, "verify-complex")
        try:
            verifier.child.wait(LIMIT_SECONDS)
        finally:
            verifier.kill()
        verdict_of(verifier)
    finally:
        for program in (driver, *processors):
            program.kill()


def main():
    address, names = sys.argv[1], sys.argv[2:] or ["smoke", "eos"]
    failed = 0
    for name in names:
        folder = pathlib.Path(tempfile.mkdtemp(prefix=f"compat-streams-{name}-"))
        try:
            {"smoke": smoke, "eos": eos}[name](address, folder)
            print(f"ok {name}", flush=True)
            shutil.rmtree(folder)
        except (AssertionError, subprocess.SubprocessError) as e:
            failed += 1
            print(f"failed {name}: {' '.join(str(e).split())} ({folder})", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
