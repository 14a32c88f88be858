"""The benches: `./dev bench [start] [memory] [throughput] [latency] [flow]` (no name: all).

Ratios come from one run on one machine: Apache Kafka 3.8.1 (KRaft, one node, its own JVM settings, 1 GiB heap) and
millrace take turns under the same load (bench/kafka_load, librdkafka). CPU is the server process's user + system time
from /proc. The report goes to build/bench/<name>.md and to standard output.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/e2e"))
import harness  # noqa: E402
import resources  # noqa: E402
import requests  # noqa: E402

BUILD = ROOT / "build/release"
WORK = ROOT / "build/bench/work"
TICKS = os.sysconf("SC_CLK_TCK")
SCALE = float(os.environ.get("BENCH_SCALE", "1"))  # of every count and duration; said in the report


def load(*args):
    done = subprocess.run([BUILD / "bench/kafka_load", *map(str, args)], capture_output=True, text=True, timeout=400)
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


class Ours:
    name = "millrace"

    def __init__(self):
        self.server = harness.Millrace(fresh("millrace"), "--broker-only")
        self.address, self.pid = self.server.kafka, self.server.pid

    def stop(self):
        assert self.server.stop() == 0


class Theirs:
    name = "Apache Kafka 3.8.1"

    def __init__(self):
        os.environ["KAFKA_HEAP"] = "1G"
        self.server = harness.Kafka381(fresh("kafka"))
        self.address, self.pid = self.server.address, int((self.server.data / "pid").read_text())

    def stop(self):
        self.server.stop()


def fresh(name):
    path = WORK / f"{name}-{time.monotonic_ns()}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def create(system, topic, partitions):
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": system.address})
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(30)


def report(name, command, rows, head):
    lines = [f"### {name}", "", f"`{command}`, scale {SCALE:g}, {time.strftime('%Y-%m-%d')}", "", "| " + " | ".join(head) + " |",
             "|" + " --- |" * len(head), *("| " + " | ".join(map(str, row)) + " |" for row in rows), ""]
    text = "\n".join(lines)
    print(text, flush=True)
    (ROOT / "build/bench").mkdir(parents=True, exist_ok=True)
    (ROOT / f"build/bench/{command.split()[-1]}.md").write_text(text)


def median(values):
    return sorted(values)[len(values) // 2]


def bench_start():
    """From exec to the ready line, and to the first answered request."""
    rows = []
    for what, options in (("serve", []), ("--broker-only", ["--broker-only"])):
        ready, answered, idle = [], [], []
        data = fresh("start")
        for _ in range(11):
            begun = time.monotonic()
            server = harness.Millrace(data, *options)
            ready.append((time.monotonic() - begun) * 1000)
            if "infer" in server.ready:
                assert requests.get(f"http://{server.infer}/v2/health/live", timeout=5).status_code == 200
                answered.append((time.monotonic() - begun) * 1000)
            idle.append(rss_mib(server.pid))
            assert server.stop() == 0
        rows.append((f"millrace {what}", f"{median(ready):.1f} ms", f"{median(answered):.1f} ms" if answered else "-",
                     f"{median(idle):.1f} MiB"))
    begun = time.monotonic()
    kafka = Theirs()
    ready = (time.monotonic() - begun) * 1000
    rows.append((kafka.name + " (storage format included)", f"{ready:.0f} ms", "-", f"{rss_mib(kafka.pid):.0f} MiB"))
    kafka.stop()
    report("Start and idle memory (median of 11 starts)", "./dev bench start", rows,
           ["what", "exec to ready", "exec to first answered request", "RSS idle"])


LOADS = [(100, 3_000_000), (1024, 1_000_000), (102_400, 20_000)]


def throughput_of(system, size, count, acks, partitions):
    topic = f"t-{size}-{acks}-{partitions}"
    create(system, topic, partitions)
    cpu = cpu_seconds(system.pid)
    produced = load("produce", system.address, topic, count, size, acks)
    produce_cpu = cpu_seconds(system.pid) - cpu
    cpu = cpu_seconds(system.pid)
    consumed = load("consume", system.address, topic, count)
    consume_cpu = cpu_seconds(system.pid) - cpu
    gigabytes = size * count / 1e9
    return produced["mb_s"], produce_cpu / gigabytes, consumed["mb_s"], consume_cpu / gigabytes


def bench_throughput():
    rows, peaks = [], {}
    for system_class in (Ours, Theirs):
        system = system_class()
        load_of = {}
        create(system, "warm", 1)
        load("produce", system.address, "warm", 200_000, 1024, "1")
        load("consume", system.address, "warm", 200_000)
        for size, count in LOADS:
            for acks in ("1", "all"):
                for partitions in (1, 4):
                    load_of[size, acks, partitions] = throughput_of(system, size, int(count * SCALE / 2), acks, partitions)
        peaks[system.name] = (load_of, rss_mib(system.pid))
        system.stop()
    (ours, our_rss), (theirs, their_rss) = peaks[Ours.name], peaks[Theirs.name]
    for key, a in ours.items():
        b = theirs[key]
        rows.append((*key, f"{a[0]:.0f} / {b[0]:.0f} ({a[0] / b[0]:.2f}x)", f"{a[1]:.2f} / {b[1]:.2f} ({b[1] / max(a[1], 0.01):.1f}x less)",
                     f"{a[2]:.0f} / {b[2]:.0f} ({a[2] / b[2]:.2f}x)", f"{a[3]:.2f} / {b[3]:.2f} ({b[3] / max(a[3], 0.01):.1f}x less)"))
    rows.append(("RSS after the load", "", "", f"{our_rss:.0f} / {their_rss:.0f} MiB", "", "", ""))
    report("Throughput and CPU beside Apache Kafka 3.8.1 (ours / Kafka's)", "./dev bench throughput", rows,
           ["bytes", "acks", "partitions", "produce MB/s", "server CPU s/GB produced", "consume MB/s", "server CPU s/GB consumed"])


def bench_latency():
    rows = []
    for system_class in (Ours, Theirs):
        system = system_class()
        create(system, "warm", 1)
        load("produce", system.address, "warm", 100_000, 1024, "1")
        for acks in ("1", "all"):
            for rate in (1000, 10_000):
                topic = f"l-{acks}-{rate}"
                create(system, topic, 1)
                result = load("latency", system.address, topic, rate, max(2, int(10 * SCALE)), 1024, acks)
                show = lambda l: " / ".join(f"{l[p] / 1000:.2f}" for p in ("p50_us", "p99_us", "p999_us"))  # noqa: E731
                rows.append((system.name, acks, rate, show(result["ack"]), show(result["end_to_end"])))
        system.stop()
    report("Produce-ack and end-to-end latency, open loop, 1 KiB (ms)", "./dev bench latency", rows,
           ["system", "acks", "messages/s", "ack p50 / p99 / p99.9", "end to end p50 / p99 / p99.9"])


SECONDS = max(2, int(5 * SCALE))


def infer_load(*args):
    done = subprocess.run([BUILD / "bench/infer_load", *map(str, args)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{args}: {done.stdout}{done.stderr[-1000:]}"
    return json.loads(done.stdout)


def chain(steps):
    names = ["mul10", "add10", "echo"][:steps]
    lines = []
    for i, name in enumerate(names):
        lines.append(f"- name: {name}")
        if i:
            source = {"mul10": "OUTPUT", "add10": "OUTPUT"}[names[i - 1]]
            lines.append(f"  inputs: [{names[i - 1]}]\n  tensorMap: {{{names[i - 1]}.outputs.{source}: INPUT}}")
    return resources.pipeline(f"steps{steps}", "steps:\n" + "\n".join(lines) + f"\noutput:\n  steps: [{names[-1]}]")


def bench_flow():
    """Pipelines over a model server that costs nothing, beside calling that server directly. gRPC, 4 floats."""
    toy = harness.Process([harness.TOY_SERVER], fresh("toy"))
    address = toy.ready["infer"]
    rows = []
    for durability in ("disk", "cache"):
        server = harness.Millrace(fresh("flow"), "--flow.durability", durability)
        folder = fresh("yaml")
        folder.mkdir()
        server.apply(folder, "---".join([resources.toys(address), *(chain(n) for n in (1, 2, 3)), resources.JOIN]))
        for name in ("steps1", "steps2", "steps3", "join"):
            harness.wait_for(lambda n=name: requests.get(f"http://{server.infer}/v2/pipelines/{n}/ready", timeout=5).status_code == 200, 20, name)
        cases = [("the model server, called directly", address, "mul10")] if durability == "disk" else []
        cases += [("pipeline of 1 step", server.infer, "steps1.pipeline"), ("pipeline of 2 steps", server.infer, "steps2.pipeline"),
                  ("pipeline of 3 steps", server.infer, "steps3.pipeline"), ("join of two, then a third", server.infer, "join.pipeline")]
        for what, target, name in cases:
            one = infer_load("closed", target, name, 1, SECONDS)
            many = infer_load("closed", target, name, 32, SECONDS)
            opened = infer_load("open", target, name, 1000, SECONDS)
            show = lambda r: f"{r['p50_us']} / {r['p99_us']} / {r['p999_us']}"  # noqa: E731
            rows.append((what, durability if ".pipeline" in name else "-", show(one), f"{many['requests_s']:.0f}", show(opened)))
        rows.append((f"RSS of millrace after it, {durability}", "", f"{rss_mib(server.pid):.1f} MiB", "", ""))
        assert server.stop() == 0, server.errors()
    toy.stop()
    report("Pipelines over a zero-cost V2 server (microseconds)", "./dev bench flow", rows,
           ["what", "flow.durability", "one caller p50 / p99 / p99.9", "32 callers, requests/s", "open loop, 1000/s p50 / p99 / p99.9"])


BENCHES = {"start": bench_start, "throughput": bench_throughput, "latency": bench_latency, "flow": bench_flow}


def main():
    names = sys.argv[1:] or list(BENCHES)
    unknown = set(names) - set(BENCHES)
    if unknown:
        raise SystemExit(f"no such bench: {', '.join(unknown)} (there are: {', '.join(BENCHES)})")
    try:
        for name in names:
            BENCHES[name]()
    finally:
        shutil.rmtree(WORK, ignore_errors=True)


if __name__ == "__main__":
    main()
