"""What happens to pipelines: applied, updated and restarted under load, idle, and a thousand of them."""

import http.client
import json
import os
import signal
import subprocess
import threading
import time

import requests
from common import BUILD, SCALE, cpu_seconds, fresh, harness, median, report, resources, rss_mib, target
from flow import chain, ready, serve

INPUT = {"inputs": [{"name": "INPUT", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}
SECONDS = max(4, int(8 * SCALE))


class Load:
    """infer_load beside what the bench does meanwhile."""

    def __init__(self, *args):
        self.child = subprocess.Popen([BUILD / "bench/infer_load", *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def result(self):
        out, errors = self.child.communicate(timeout=120)
        assert out, errors[-1000:]
        return json.loads(out)


def apply(session, server, text):
    answer = session.post(f"http://{server.infer}/millrace/v1/apply", data=text.encode(), timeout=30)
    assert answer.status_code == 200, answer.text
    return answer


def infer(session, server, name):
    return session.post(f"http://{server.infer}/v2/models/{name}/infer", json=INPUT, headers={"Seldon-Model": f"{name}.pipeline"}, timeout=30)


# ---- apply to first answer ----

def first_answers(server, steps):
    """Milliseconds from the beginning of `apply` to the first good answer, over one connection; models are new, too."""
    times = []
    for i in range(7):
        names = [f"fresh{steps}-{i}-{k}" for k in range(steps)]
        models = [resources.model(n) + f"  servedName: {'add10' if k else 'mul10'}\n" for k, n in enumerate(names)]
        lines = [f"- name: {n}" + (f"\n  inputs: [{names[k - 1]}]\n  tensorMap: {{{names[k - 1]}.outputs.OUTPUT: INPUT}}" if k else "") for k, n in enumerate(names)]
        text = "---".join([*models, resources.pipeline(f"new{steps}-{i}", "steps:\n" + "\n".join(lines) + f"\noutput:\n  steps: [{names[-1]}]")])
        with requests.Session() as session:
            session.get(f"http://{server.infer}/v2/health/live", timeout=5)
            begun = time.monotonic()
            apply(session, server, text)
            while infer(session, server, f"new{steps}-{i}").status_code != 200:
                assert time.monotonic() < begun + 30
            times.append((time.monotonic() - begun) * 1000)
    return median(times)


# ---- under load ----

def outcomes(server, name):
    """How many records the outputs topic of a pipeline holds."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": server.kafka, "group.id": "bench", "log_level": 2})
    topics = consumer.list_topics(timeout=10).topics
    count = 0
    for topic, meta in topics.items():
        if topic.endswith(f".pipeline.{name}.outputs"):
            for partition in meta.partitions:
                low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
                count += high - low
    consumer.close()
    return count


def updated(server):
    before = outcomes(server, "steps1")
    running = Load("closed", server.infer, "steps1.pipeline", 8, SECONDS)
    versions = 0
    with requests.Session() as session:
        until = time.monotonic() + SECONDS - 1
        while time.monotonic() < until:
            versions += 1
            model = "add10" if versions % 2 else "mul10"
            apply(session, server, resources.pipeline("steps1", f"steps:\n- name: {model}\noutput:\n  steps: [{model}]"))
            time.sleep(0.2)
    result = running.result()
    doubled = outcomes(server, "steps1") - before - result["requests"] - result["failed"]
    return result, versions, doubled


class Insistent(threading.Thread):
    """Calls again and again over one connection; what fails is tried again 2 ms later, over a new one."""

    def __init__(self, address):
        super().__init__()
        self.address, self.worst, self.answers, self.going = address, 0, 0, True
        self.start()

    def run(self):
        body, headers, connection = json.dumps(INPUT), {"Seldon-Model": "steps1.pipeline", "Content-Type": "application/json"}, None
        while self.going:
            begun, status = time.monotonic(), 0
            while status != 200:
                try:
                    connection = connection or http.client.HTTPConnection(self.address, timeout=30)
                    connection.request("POST", "/v2/models/steps1/infer", body, headers)
                    answer = connection.getresponse()
                    status = answer.status
                    answer.read()
                except (OSError, http.client.HTTPException):
                    connection = None
                if status != 200:
                    time.sleep(0.002)
                    assert time.monotonic() < begun + 30
            self.worst, self.answers = max(self.worst, time.monotonic() - begun), self.answers + 1
            time.sleep(0.001)


def all_answered(callers, more):
    """Each of them so many times more."""
    goals = [caller.answers + more for caller in callers]
    harness.wait_for(lambda: all(caller.answers >= goal for caller, goal in zip(callers, goals)), 60, "callers get no answers")


def restarted(toy):
    """The longest a caller that tries again every 2 ms waited for an answer while the process was stopped and started."""
    server = serve(toy, [chain(1)], "--flow.durability", "cache")
    worst = []
    for _ in range(5):
        callers = [Insistent(server.infer) for _ in range(4)]
        all_answered(callers, 100)
        address, data = server.infer, server.data
        server.child.send_signal(signal.SIGTERM)
        os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)  # Popen.wait(timeout) looks every so often
        assert server.stop() == 0, server.errors()
        server = harness.Millrace(data, "--flow.durability", "cache", infer_listen=address)
        all_answered(callers, 100)
        for caller in callers:
            caller.going = False
        for caller in callers:
            caller.join()
        worst.append(max(caller.worst for caller in callers) * 1000)
    assert server.stop() == 0, server.errors()
    return median(worst)


# ---- idle ----

def idle(toy, *options):
    """MiB after a start with three pipelines, and per cent of a core."""
    server = serve(toy, [chain(n) for n in (1, 2, 3)], *options)
    time.sleep(2)
    rss, before, seconds = rss_mib(server.pid), cpu_seconds(server.pid), max(5, int(20 * SCALE))
    time.sleep(seconds)
    cpu = (cpu_seconds(server.pid) - before) / seconds * 100
    assert server.stop() == 0, server.errors()
    return rss, cpu


# ---- a thousand ----

def two_steps(i):
    return resources.pipeline(f"many-{i}", f"""
steps:
- name: mul10
- name: add10
  inputs: [mul10]
  tensorMap: {{mul10.outputs.OUTPUT: INPUT}}
output:
  steps: [add10]
""")


def timed(rows, what, run):
    begun = time.monotonic()
    result = run()
    rows.append((what, f"{(time.monotonic() - begun) * 1000:.0f} ms"))
    return result


def serve_each(session, server):
    for i in range(1000):
        answer = infer(session, server, f"many-{i}")
        assert answer.status_code == 200 and answer.json()["outputs"][0]["data"] == [20, 30, 40, 50], answer.text


def thousand(toy):
    server, rows = serve(toy, [], "--flow.durability", "cache"), []
    with requests.Session() as session:
        timed(rows, "apply 1,000 pipelines, one request", lambda: (apply(session, server, "---".join(two_steps(i) for i in range(1000))), ready(server, "many-999")))
        listed = timed(rows, "list them", lambda: session.get(f"http://{server.infer}/millrace/v1/pipelines", timeout=30))
        assert listed.status_code == 200 and listed.text.count('"many-') >= 1000
        timed(rows, "one request to each, one after the other (first requests: topics are made)", lambda: serve_each(session, server))
        timed(rows, "one request to each again", lambda: serve_each(session, server))
    assert server.stop() == 0, server.errors()
    begun = time.monotonic()
    server = harness.Millrace(server.data, "--flow.durability", "cache")
    with requests.Session() as session:
        while infer(session, server, "many-999").status_code != 200:
            assert time.monotonic() < begun + 30
        restart = time.monotonic() - begun
        rows.append(("restart, to the first answer of the last", f"{restart * 1000:.0f} ms"))
        time.sleep(2)
        rss = rss_mib(server.pid)
        rows.append(("RSS, idle", f"{rss:.1f} MiB"))
        timed(rows, "delete them, one after the other", lambda: [session.delete(f"http://{server.infer}/millrace/v1/pipelines/many-{i}", timeout=30).raise_for_status() for i in range(1000)])
        left = session.get(f"http://{server.infer}/millrace/v1/pipelines", timeout=30).text.count('"many-')
    assert server.stop() == 0, server.errors()
    report("A thousand pipelines of two steps", "./dev bench thousand", rows, ["what", "millrace"])
    target("flow", "1,000 pipelines of two steps: apply, list, serve each, delete", "-", "; ".join(f"{value}" for what, value in rows[:3]) + f"; {rows[-1][1]}", "works", left == 0)
    target("flow", "1,000 pipelines: restart", "-", f"{restart * 1000:.0f} ms", "1 s", restart < 1)
    target("flow", "1,000 pipelines: memory, idle", "-", f"{rss:.1f} MiB", "64 MiB", rss <= 64)


def bench_thousand():
    toy = harness.Process([harness.TOY_SERVER], fresh("toy"))
    thousand(toy)
    toy.stop()


def bench_life():
    toy = harness.Process([harness.TOY_SERVER], fresh("toy"))
    server = serve(toy, [chain(1)], "--flow.durability", "cache")
    one, three = first_answers(server, 1), first_answers(server, 3)
    assert server.stop() == 0, server.errors()
    server = serve(toy, [chain(1)], "--flow.durability", "cache")
    load, versions, doubled = updated(server)
    assert server.stop() == 0, server.errors()
    gap = restarted(toy)
    rss, cpu = idle(toy)
    toy.stop()
    rows = [("apply to first answer, one step (new model, new pipeline; median of 7)", f"{one:.1f} ms"), ("the same, three steps", f"{three:.1f} ms"),
            ("a pipeline updated under load", f"{versions} versions, {load['requests']} requests, {load['failed']} failed, {doubled} doubled, slowest {load['max_us'] / 1000:.1f} ms"),
            ("restarted under load: the longest wait of a caller that tries again (median of 5)", f"{gap:.0f} ms"),
            ("idle with three pipelines", f"{rss:.1f} MiB, {cpu:.2f} % of a core")]
    report("The life of pipelines", "./dev bench life", rows, ["what", "millrace"])
    target("flow", "apply to first answer, one step", "4.2 s", f"{one:.1f} ms", "10 ms", one <= 10)
    target("flow", "apply to first answer, three steps", "6.4 s", f"{three:.1f} ms", "20 ms", three <= 20)
    target("flow", "a pipeline updated under load", "every call fails", f"{load['failed']} failed, {doubled} doubled of {load['requests']}, {versions} versions", "0 failed, 0 doubled", load["failed"] == 0 and doubled == 0)
    target("flow", "the engine restarted under load: clients that retry notice", "60 s of hanging calls", f"{gap:.0f} ms", "50 ms", gap <= 50)
    target("flow", "memory, idle, embedded", "2.1 GB", f"{rss:.1f} MiB", "16 MiB", rss <= 16)
    target("flow", "idle CPU", "10 % of a core", f"{cpu:.2f} %", "0.5 %", cpu < 0.5)


BENCHES = {"life": bench_life, "thousand": bench_thousand}
