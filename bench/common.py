"""What the benches share: the two systems, the loads, process figures, and the report.

Ratios come from one run on one machine: Apache Kafka 3.8.1 (KRaft, one node, its own JVM settings, 1 GiB heap) and
millrace take turns under the same load. CPU is the server process's user + system time from /proc.
"""

import json
import mmap
import os
import pathlib
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/e2e"))
import harness  # noqa: E402
import resources  # noqa: E402

BUILD = ROOT / "build/release"
WORK = ROOT / "build/bench/work"
TICKS = os.sysconf("SC_CLK_TCK")
SCALE = float(os.environ.get("BENCH_SCALE", "1"))  # of every count and duration; said in the report


def load(*args, program="kafka_load"):
    done = subprocess.run([BUILD / "bench" / program, *map(str, args)], capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, f"{args}: {done.stdout}{done.stderr[-1000:]}"
    return json.loads(done.stdout)


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_mib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")


def peak_mib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmHWM")


class Ours:
    name = "millrace"

    def __init__(self, *options, data=None, conf=None):
        self.conf = conf or {}
        self.options, self.data = options or ("--broker-only",), data or fresh("millrace")
        begun = time.monotonic()
        self.server = harness.Millrace(self.data, *self.options)
        self.start_ms = (time.monotonic() - begun) * 1000
        self.address, self.pid = self.server.kafka, self.server.pid

    def stop(self):
        assert self.server.stop() == 0

    def kill(self):
        self.server.kill()

    def again(self):
        return Ours(*self.options, data=self.data, conf=self.conf)


class Theirs:
    name = "Apache Kafka 3.8.1"

    def __init__(self, properties="", data=None, conf=None):
        os.environ["KAFKA_HEAP"] = "1G"
        self.properties, self.conf = properties, conf or {}
        for attempts in (2, 1, 0):
            self.data = data or fresh("kafka")
            begun = time.monotonic()
            try:
                self.server = harness.Kafka381(self.data, properties=properties)
                break
            except AssertionError:  # somebody else may have taken its port
                if not attempts:
                    raise
        self.address = self.server.address
        client = admin(self)
        client.list_topics(timeout=60)
        self.start_ms = (time.monotonic() - begun) * 1000
        self.pid = int((self.server.data / "pid").read_text())

    def stop(self):
        self.server.stop()

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        harness.wait_for(lambda: not pathlib.Path(f"/proc/{self.pid}").exists(), 30, "it was killed")

    def again(self):
        return Theirs(self.properties, data=self.data, conf=self.conf)


def admin(system):
    from confluent_kafka.admin import AdminClient

    return AdminClient({"bootstrap.servers": system.address, "log_level": 2, **system.conf})


def warm_memory(gigabytes):
    """Memory that a virtual machine has not touched yet costs several times as much to write to. Whoever is measured first
    would pay for it: the page cache is filled once with as much as a run writes, and given back."""
    path = WORK / "warm"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        for _ in range(int(gigabytes * 64)):
            file.write(bytes(16 << 20))
    path.unlink()


def fresh(name):
    path = WORK / f"{name}-{time.monotonic_ns()}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def properties_of(system):
    """What kafka_load needs to reach it, beside the address."""
    return [word for name, value in system.conf.items() for word in ("-X", f"{name}={value}")]


def create(system, *topics, partitions=1, client=None):
    """In batches of 100, as tools do."""
    from confluent_kafka.admin import NewTopic

    client = client or admin(system)
    for i in range(0, len(topics), 100):
        for done in client.create_topics([NewTopic(t, partitions, 1) for t in topics[i:i + 100]]).values():
            done.result(60)


def delete(system, topic):
    client = admin(system)
    client.delete_topics([topic])[topic].result(30)


def report(name, command, rows, head):
    lines = [f"### {name}", "", f"`{command}`, scale {SCALE:g}, {time.strftime('%Y-%m-%d')}", "", "| " + " | ".join(head) + " |",
             "|" + " --- |" * len(head), *("| " + " | ".join(map(str, row)) + " |" for row in rows), ""]
    text = "\n".join(lines)
    print(text, flush=True)
    (ROOT / "build/bench").mkdir(parents=True, exist_ok=True)
    (ROOT / f"build/bench/{command.split()[-1]}.md").write_text(text)


# ---- what the numbers ought to be ----

TARGETS = {"broker": [], "flow": [], "security": []}


def target(group, what, peer, ours, want, met):
    """One row of the table of targets: `peer` is what the other system does, in this run or where the target comes from."""
    TARGETS[group].append((what, peer, ours, want, "met" if met else "missed"))


def report_targets():
    for group, peer in (("broker", "Apache Kafka 3.8.1, this run"), ("flow", "the system replaced, measured elsewhere"),
                        ("security", "Apache Kafka 3.8.1, this run")):
        if TARGETS[group]:
            report(f"Targets, {group}", f"./dev bench {group}", TARGETS[group], ["what", peer, "millrace", "target", ""])


def device_sync_us():
    """The median of writes of 4 KiB past the page cache that return when they are on the disk: what a durable answer waits for."""
    path, block, times = WORK / "device", mmap.mmap(-1, 4096), []
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT | os.O_DSYNC)
    for i in range(1256):
        begun = time.perf_counter()
        os.pwrite(fd, block, i % 256 * 4096)
        if i >= 256:  # the first round makes the blocks
            times.append((time.perf_counter() - begun) * 1e6)
    os.close(fd)
    path.unlink()
    return median(times)


def median(values):
    return sorted(values)[len(values) // 2]
