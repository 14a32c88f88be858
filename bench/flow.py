"""Pipelines over a model server that costs nothing."""

import json
import subprocess

import requests
from common import BUILD, SCALE, Theirs, cpu_seconds, fresh, harness, report, resources, rss_mib

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


def bench_remote():
    """The same pipelines on the embedded broker and on an Apache Kafka 3.8.1 beside it, which also gets the bare round trip."""
    toy = harness.Process([harness.TOY_SERVER], fresh("toy"))
    kafka = Theirs()
    rows = []
    for durability in ("disk", "cache"):
        acks = "all" if durability == "disk" else "1"
        for where in ("embedded", "Apache Kafka"):
            more = [] if where == "embedded" else ["--no-broker", "--bootstrap", kafka.address, "--namespace", f"bench{durability}"]
            server = harness.Millrace(fresh("flow"), "--flow.durability", durability, *more)
            folder = fresh("yaml")
            folder.mkdir()
            server.apply(folder, "---".join([resources.toys(toy.ready["infer"]), *(chain(n) for n in (1, 3))]))
            for steps in (1, 3):
                name = f"steps{steps}"
                harness.wait_for(lambda n=name, s=server: requests.get(f"http://{s.infer}/v2/pipelines/{n}/ready", timeout=5).status_code == 200, 30, name)
                infer_load("closed", server.infer, name + ".pipeline", 8, 2)
                before = cpu_seconds(server.pid)
                one = infer_load("closed", server.infer, name + ".pipeline", 1, SECONDS)
                many = infer_load("closed", server.infer, name + ".pipeline", 64, SECONDS)
                cpu = (cpu_seconds(server.pid) - before) / (one["requests"] + many["requests"]) * 1e6
                rows.append((where, f"{durability} (acks={acks})", steps, f"{one['p50_us']} / {one['p99_us']}", f"{many['requests_s']:.0f}",
                             f"{many['p50_us']} / {many['p99_us']}", f"{cpu:.0f}"))
            rows.append((f"RSS of millrace after it, {where}", durability, "", f"{rss_mib(server.pid):.1f} MiB", "", "", ""))
            assert server.stop() == 0, server.errors()
    kafka.stop()
    toy.stop()
    report("Pipelines on a real Apache Kafka (microseconds)", "./dev bench remote", rows,
           ["log", "flow.durability", "steps", "one caller p50 / p99", "64 callers, requests/s", "their p50 / p99", "CPU of millrace per request"])
