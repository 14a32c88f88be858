"""kill -9 while one pipeline reads another: every output of the one becomes one input and one outcome of the other."""

import concurrent.futures
import random

import confluent_kafka
import requests
import resources
from harness import wait_for

FIRST = resources.pipeline("first", "steps: [{name: mul10}]\noutput: {steps: [mul10]}")
SECOND = resources.pipeline("second", """
input:
  externalInputs: [first.outputs]
  tensorMap: {first.outputs.OUTPUT: INPUT}
steps:
- name: add10
  batch: {size: 8}
output: {steps: [add10]}
""")


def ask(server, i):
    try:
        answer = requests.post(f"http://{server.infer}/v2/pipelines/first/infer", json={"inputs": [resources.fp32([i, 1])]},
                               headers={"x-request-id": f"r{i}"}, timeout=10)
        return i if answer.status_code == 200 else None
    except requests.RequestException:
        return None


def keys(server, topic):
    """Of all records there, errors aside."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": server.kafka, "group.id": "check", "enable.auto.commit": False})
    partition = confluent_kafka.TopicPartition(f"seldon.default.pipeline.{topic}", 0, 0)
    partition.offset, high = consumer.get_watermark_offsets(partition, 30)
    consumer.assign([partition])
    records = []
    while len(records) < high - partition.offset:
        records += [record for record in consumer.consume(1000, 0.2) if record.error() is None]
    consumer.close()
    return [record.key().decode() for record in records if "seldon-pipeline-errors" not in dict(record.headers())]


def test_kills_neither_lose_nor_repeat_what_another_pipeline_reads(start, toy, tmp_path):
    rng = random.Random(4)
    server = start()
    server.apply(tmp_path, "---".join([resources.toys(toy), FIRST, SECOND]))
    answered, number = set(), 0
    for _ in range(6):
        for name in ("first", "second"):
            wait_for(lambda n=name: requests.get(f"http://{server.infer}/v2/pipelines/{n}/ready", timeout=10).status_code == 200, 30, name)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            futures = [pool.submit(ask, server, number + k) for k in range(60)]
            number += 60
            wait_for(lambda f=futures, n=rng.randrange(5, 55): sum(x.done() for x in f) >= n, 30, "no answers")
            server.kill()
            answered |= {f.result() for f in futures} - {None}
        server = start()
    wanted = {f"r{i}" for i in answered}

    def all_there():
        first, second = keys(server, "first.outputs"), keys(server, "second.outputs")
        return set(first) == set(second) and {key.split(".")[-1] for key in first} >= wanted

    wait_for(all_there, 60, lambda: f"{sorted(set(keys(server, 'first.outputs')) ^ set(keys(server, 'second.outputs')))}")
    for topic in ("first.outputs", "second.inputs", "second.outputs"):
        found = keys(server, topic)
        assert len(found) == len(set(found)), f"{topic}: {[key for key in found if found.count(key) > 1]}"
