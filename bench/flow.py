"""Pipelines over a model server that costs nothing, beside calling that server directly."""

import json
import subprocess

import requests
from common import BUILD, SCALE, Theirs, cpu_seconds, device_sync_us, fresh, harness, load, report, resources, rss_mib, target

SECONDS = max(2, int(5 * SCALE))
FLOATS = 25_000


def infer_load(mode, address, name, n, seconds, *more):
    done = subprocess.run([BUILD / "bench/infer_load", *map(str, (mode, address, name, n, seconds, *more))], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{mode} {name}: {done.stdout}{done.stderr[-1000:]}"
    return json.loads(done.stdout)


def chain(steps):
    names = ["mul10", "add10", "echo"][:steps]
    lines = []
    for i, name in enumerate(names):
        lines.append(f"- name: {name}")
        if i:
            lines.append(f"  inputs: [{names[i - 1]}]\n  tensorMap: {{{names[i - 1]}.outputs.OUTPUT: INPUT}}")
    return resources.pipeline(f"steps{steps}", "steps:\n" + "\n".join(lines) + f"\noutput:\n  steps: [{names[-1]}]")


def serve(toy, texts, *options):
    """A millrace with the toy server's models and these pipelines, ready."""
    server = harness.Millrace(fresh("flow"), *options)
    folder = fresh("yaml")
    folder.mkdir()
    server.apply(folder, "---".join([resources.toys(toy.ready["infer"]), *texts]))
    for line in "".join(texts).splitlines():
        if line.startswith("metadata: {name: "):
            ready(server, line.split("name: ")[1].rstrip("}"))
    return server


def ready(server, name):
    url = f"http://{server.infer}/v2/pipelines/{name}/ready"
    harness.wait_for(lambda: requests.get(url, timeout=15).status_code == 200, 60, f"{name} does not get ready")


def show(r):
    return f"{r['p50_us']} / {r['p99_us']} / {r['p999_us']}"


CASES = {"1 step": "steps1", "2 steps": "steps2", "3 steps": "steps3", "join of two, then a third": "join"}


def measure(server, address, name):
    """All loads on one pipeline (or model)."""
    infer_load("closed", address, name, 8, 1)
    m = {n: infer_load("closed", address, name, n, SECONDS) for n in (1, 64)}
    before = cpu_seconds(server.pid)
    m[16] = infer_load("closed", address, name, 16, SECONDS)
    m["cpu"] = (cpu_seconds(server.pid) - before) / m[16]["requests"] * 1e6
    m["open"] = infer_load("open", address, name, 1000, SECONDS)
    return m


def floats_of(address, name):
    """p50 in ms of a large tensor, gRPC and REST."""
    return [infer_load("closed", address, name, 1, SECONDS, FLOATS, *rest)["p50_us"] / 1000 for rest in ((), ("rest",))]


def bench_flow():
    """Pipelines over a model server that costs nothing, beside calling that server directly. gRPC, 4 floats."""
    toy = harness.Process([harness.TOY_SERVER], fresh("toy"))
    direct = measure(toy, toy.ready["infer"], "mul10")
    direct_floats = floats_of(toy.ready["infer"], "mul10")
    sync = device_sync_us()
    rows, all_of, memory = [row("the model server, called directly", "-", direct)], {}, {}
    for durability in ("cache", "disk"):
        server = serve(toy, [*(chain(n) for n in (1, 2, 3)), resources.JOIN], "--flow.durability", durability)
        for what, name in CASES.items():
            all_of[durability, what] = measure(server, server.infer, f"{name}.pipeline")
            rows.append(row(f"pipeline of {what}", durability, all_of[durability, what]))
        memory[durability] = rss_mib(server.pid)
        rows.append((f"RSS of millrace after it, {durability}", "", f"{memory[durability]:.1f} MiB", "", "", "", ""))
        if durability == "cache":
            floats = floats_of(server.infer, "steps1.pipeline")
        assert server.stop() == 0, server.errors()
    toy.stop()
    report("Pipelines over a zero-cost V2 server (microseconds)", "./dev bench pipelines", rows,
           ["what", "flow.durability", "one caller p50 / p99 / p99.9", "16 callers, requests/s", "64 callers, requests/s", "CPU of millrace per request, 16 callers",
            "open loop, 1000/s p50 / p99 / p99.9"])
    latency_targets(direct, all_of, sync)
    rate_targets(direct, all_of)
    for what, seldon, more, mine, bare in (("REST", 21, 1, floats[1], direct_floats[1]), ("gRPC", 11, 0.3, floats[0], direct_floats[0])):
        target("flow", f"25,000 floats, one step, p50, {what}", f"{seldon} ms", f"{mine:.2f} ms (direct {bare:.2f})", f"direct + {more} ms = {bare + more:.2f}", mine <= bare + more)
    target("flow", "memory under full load, embedded", "2.1 GB", f"{max(memory.values()):.1f} MiB", "96 MiB", max(memory.values()) <= 96)


def row(what, durability, m):
    return (what, durability, show(m[1]), f"{m[16]['requests_s']:.0f}", f"{m[64]['requests_s']:.0f}", f"{m['cpu']:.0f}", show(m["open"]))


def latency_targets(direct, all_of, sync):
    """A step costs what its call costs when made directly, and a little."""
    call, seldon = direct[1]["p50_us"], {"1 step": "4.6", "2 steps": "6.7", "3 steps": "9.7", "join of two, then a third": "7.6"}
    for durability in ("cache", "disk"):
        wait = sync if durability == "disk" else 0
        for what, steps, extra in (("1 step", 1, 0), ("2 steps", 2, 60), ("3 steps", 3, 120), ("join of two, then a third", 2, 120)):
            most, ours = steps * call + 150 + extra + wait, all_of[durability, what][1]["p50_us"]
            formula = f"{steps} × direct ({call}) + {150 + extra}" + (f" + sync ({sync:.0f})" if wait else "")
            target("flow", f"{what}, one caller, p50, durability {durability}", f"{seldon[what]} ms", f"{ours} µs", f"{formula} = {most:.0f} µs", ours <= most)
        most, ours = direct[1]["p99_us"] + 500 + wait, all_of[durability, "1 step"][1]["p99_us"]
        target("flow", f"1 step, one caller, p99, durability {durability}", "13 ms", f"{ours} µs", f"direct ({direct[1]['p99_us']}) + 500{f' + sync ({sync:.0f})' if wait else ''} = {most:.0f} µs", ours <= most)


def rate_targets(direct, all_of):
    for what, share, least, seldon in (("1 step", 2, 12_000, (660, 1150)), ("3 steps", 4, 5_000, (314, 445))):
        for n, theirs in zip((16, 64), seldon):
            ours, alone = all_of["cache", what][n]["requests_s"], direct[n]["requests_s"]
            target("flow", f"{what}, {n} callers, requests/s", theirs, f"{ours:.0f}", f"at least {least}", ours >= least)
            target("flow", f"{what}, {n} callers, share of the model server alone", "", f"{ours:.0f} of {alone:.0f}, 1/{alone / ours:.1f}", f"1/{share}", ours >= alone / share)
    for what, most, theirs in (("1 step", 50, "1.6 ms"), ("3 steps", 110, "4.5 ms")):
        ours = all_of["cache", what]["cpu"]
        target("flow", f"CPU per request but for the model server, {what}, 16 callers", theirs, f"{ours:.0f} µs", f"{most} µs", ours <= most)


# ---- on another broker ----

def bench_remote():
    """The same pipelines on the embedded broker and on an Apache Kafka 3.8.1 beside it, which also gets the bare round trip."""
    toy, kafka = harness.Process([harness.TOY_SERVER], fresh("toy")), Theirs()
    rows, opened, memory = [], {}, []
    for durability in ("disk", "cache"):
        acks = "all" if durability == "disk" else "1"
        for where in ("embedded", "Apache Kafka"):
            more = [] if where == "embedded" else ["--no-broker", "--bootstrap", kafka.address, "--namespace", f"bench{durability}"]
            server = serve(toy, [chain(1), chain(3)], "--flow.durability", durability, *more)
            idle = rss_mib(server.pid)
            for steps in (1, 3):
                opened[where, acks, steps] = remote_row(rows, server, where, f"{durability} (acks={acks})", steps)
            memory.append((where, idle, rss_mib(server.pid)))
            rows.append((f"RSS of millrace before and after, {where}", durability, "", f"{idle:.1f}, {rss_mib(server.pid):.1f} MiB", "", "", "", ""))
            assert server.stop() == 0, server.errors()
    trip = round_trip_us(kafka)
    kafka.stop()
    toy.stop()
    report("Pipelines on a real Apache Kafka (microseconds)", "./dev bench remote", rows,
           ["log", "flow.durability", "steps", "one caller p50 / p99", "64 callers, requests/s", "their p50 / p99", "CPU of millrace per request", "3,000/s: p50 / p99"])
    for steps in (1, 3):
        ours, here = (opened[where, "1", steps] for where in ("Apache Kafka", "embedded"))
        added = ours["one"] - here["one"]
        target("flow", f"on Apache Kafka, {steps} step{'s' * (steps > 1)}: what it adds, one caller, p50", "-", f"{added} µs", f"one round trip of an append there ({trip:.0f} µs)", added <= trip)
        target("flow", f"on Apache Kafka, {steps} step{'s' * (steps > 1)}: 3,000 requests a second, open loop", "-", f"{ours['requests_s']:.0f}/s, p50 / p99 {ours['p50_us']} / {ours['p99_us']} µs", "3,000 a second", ours["requests_s"] >= 2970)
    for what, at, most in (("idle", 1, 24), ("full load", 2, 96)):
        mib = max(m[at] for m in memory if m[0] == "Apache Kafka")
        target("flow", f"memory on Apache Kafka, {what}", "2.1 GB", f"{mib:.1f} MiB", f"{most} MiB", mib <= most)


def remote_row(rows, server, where, durability, steps):
    name = f"steps{steps}.pipeline"
    infer_load("closed", server.infer, name, 8, 2)
    before = cpu_seconds(server.pid)
    one = infer_load("closed", server.infer, name, 1, SECONDS)
    many = infer_load("closed", server.infer, name, 64, SECONDS)
    cpu = (cpu_seconds(server.pid) - before) / (one["requests"] + many["requests"]) * 1e6
    opened = infer_load("open", server.infer, name, 3000, SECONDS)
    rows.append((where, durability, steps, f"{one['p50_us']} / {one['p99_us']}", f"{many['requests_s']:.0f}", f"{many['p50_us']} / {many['p99_us']}", f"{cpu:.0f}",
                 f"{opened['p50_us']} / {opened['p99_us']}"))
    return {**opened, "one": one["p50_us"]}


def round_trip_us(kafka):
    """Of one small record, acks=1, one after the other."""
    from common import create

    create(kafka, "trip")
    return load(kafka.address, "trip", 1, 1, 0, SECONDS, 100, program="wire_load")["p50_us"]


BENCHES = {"pipelines": bench_flow, "remote": bench_remote}
