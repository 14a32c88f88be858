"""millrace replay: recorded requests of a pipeline, sent to another one."""

import json
import subprocess
import time

import harness
import pytest
import requests
import resources
from confluent_kafka import Producer

OTHER = resources.pipeline("other", "steps: [{name: mul10}]\noutput: {steps: [mul10]}")
BROKEN = resources.pipeline("broken", "steps: [{name: error}]\noutput: {steps: [error]}")


def run(server, *args):
    return subprocess.run([harness.MILLRACE, *map(str, args), "--server", server.infer], capture_output=True, text=True, timeout=60)


def replay(server, *args):
    done = run(server, "replay", "chain", *args, "--output", "json")
    assert done.returncode in (0, 1) and "can be reached" not in done.stderr, done.stderr
    return json.loads(done.stdout)


def ask(server, n, **headers):
    args = [x for name, value in headers.items() for x in ("--header", f"{name.replace('_', '-')}: {value}")]
    server.cli("infer", "pipeline", "chain", json.dumps({"inputs": [resources.fp32([n])]}), *args)


def outputs(server, pipeline, limit=1000):
    found = json.loads(server.cli("inspect", f"{pipeline}.outputs", "--output", "json", "--limit", str(limit)).stdout)
    return found["topics"][0]["records"]


def numbers(records):
    return [r["value"]["outputs"][0]["data"][0] for r in records]


@pytest.fixture
def loaded(plane, toy, tmp_path):
    plane.apply(tmp_path, "---".join([resources.toys(toy), resources.CHAIN, OTHER, BROKEN]))
    ready = lambda name: requests.get(f"http://{plane.infer}/v2/pipelines/{name}/ready", timeout=10).status_code == 200
    harness.wait_for(lambda: all(map(ready, ("chain", "other", "broken"))), 30, "not ready")  # on Apache Kafka topics take a while
    return plane


def test_requests_are_sent_again_in_their_order_with_ids_and_headers(loaded):
    for n in range(5):
        ask(loaded, n, x_request_id=f"id-{n}", x_who="me")
    assert replay(loaded, "--into", "other") | {"from": 0, "to": 0} == {
        "pipeline": "chain", "into": "other", "from": 0, "to": 0, "requests": 5, "answered": 5, "failed": 0, "leftOut": 0, "failures": []}
    records = outputs(loaded, "other")
    assert numbers(records) == [0, 10, 20, 30, 40]
    headers = {h["key"]: h["value"] for h in records[3]["headers"]}
    assert headers["x-request-id"] == "id-3" and headers["x-who"] == "me"
    assert headers["x-millrace-replay"].endswith(".pipeline.chain.inputs/0/3")
    both = json.loads(loaded.cli("trace", "id-3", "--output", "json").stdout)
    assert sum(r["topic"].endswith(".inputs") and ".pipeline." in r["topic"] for r in both["records"]) == 2


def next_millisecond():
    """Now, when the clock shows another millisecond than at the call: the one that records are stamped with."""
    begun = int(time.time() * 1000)
    return harness.wait_for(lambda: (now := int(time.time() * 1000)) > begun and now, 5, "the clock stands still")


def test_only_what_came_between_the_times_is_sent(loaded):
    marks = []
    for n in range(4):
        ask(loaded, n)
        marks.append(next_millisecond())
        next_millisecond()
    assert replay(loaded, "--from", marks[0], "--to", marks[2], "--into", "other")["requests"] == 2
    assert numbers(outputs(loaded, "other")) == [10, 20]
    iso = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(marks[0] / 1000)) + f".{marks[0] % 1000:03d}Z"
    assert replay(loaded, "--from", iso, "--check", "--into", "other")["requests"] == 3
    assert replay(loaded, "--to", "-1d", "--check", "--into", "other")["requests"] == 0
    assert len(outputs(loaded, "other")) == 2


def test_failures_are_listed_and_what_is_no_request_is_left_out(loaded):
    ask(loaded, 1)
    producer = Producer({"bootstrap.servers": loaded.bootstrap})
    topic = f"seldon.{loaded.namespace}.pipeline.chain.inputs"
    producer.produce(topic, value=b"not a message", key=b"k")
    producer.produce(topic, value=b"", key=b"k", headers=[("pipeline", b"somebody-else")])
    producer.flush(10)
    done = run(loaded, "replay", "chain", "--into", "broken")
    assert done.returncode == 1
    assert "2 requests, 0 answered, 2 failed, 1 left out" in done.stdout
    assert "0/0 INVALID_ARGUMENT: error : rpc error" in done.stderr and "0/1 INVALID_ARGUMENT: the request" in done.stderr
    assert "0/2 left out: it belongs to another pipeline" in done.stderr
    assert "2 of 2 requests failed" in done.stderr


def test_more_than_a_page_and_several_partitions(start, toy, tmp_path):
    server = start("--kafka.topics.numPartitions", "3")
    server.apply(tmp_path, "---".join([resources.toys(toy), resources.CHAIN, OTHER]))
    import urllib.request

    for n in range(700):
        body = json.dumps({"inputs": [resources.fp32([n])]}).encode()
        with urllib.request.urlopen(f"http://{server.infer}/v2/pipelines/chain/infer", body) as answer:
            assert answer.status == 200
    assert replay(server, "--into", "other")["answered"] == 700
    assert sorted(numbers(outputs(server, "other"))) == [10 * n for n in range(700)]


def test_what_cannot_be_replayed_says_why(loaded):
    for args, status, words in [
        (("chain",), 2, "--into PIPELINE is wanted"),
        (("chain", "--into", "nobody"), 1, "nobody does not exist"),
        (("nobody", "--into", "other"), 1, "pipeline.nobody.inputs does not exist"),
        (("chain", "--into", "other", "--from", "yesterday"), 2, "a time is wanted"),
        (("chain", "--into", "other", "--from", "now", "--to", "-1h"), 2, "--from is not before --to"),
    ]:
        done = run(loaded, "replay", *args)
        assert done.returncode == status and words in done.stderr, (args, done.stderr)


def test_requests_whose_record_lacks_something_are_left_out(start, toy, tmp_path):
    server = start("--flow.redact", "INPUT")
    server.apply(tmp_path, "---".join([resources.toys(toy), resources.CHAIN, OTHER]))
    server.namespace = "default"
    ask(server, 7)
    assert replay(server, "--into", "other") | {"from": 0, "to": 0} == {
        "pipeline": "chain", "into": "other", "from": 0, "to": 0, "requests": 0, "answered": 0, "failed": 0, "leftOut": 1, "failures": []}
