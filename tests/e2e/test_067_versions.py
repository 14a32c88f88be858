"""Versions: a request that a crash interrupted is finished by the version it was admitted on, and versions never begin again."""

import concurrent.futures
import json

import confluent_kafka
import requests
import resources
from harness import wait_for

BODY = {"inputs": [resources.fp32([1, 2, 3, 4])]}
TOPIC = "seldon.default.pipeline.slowly.outputs"
NEWER = resources.pipeline("slowly", "steps:\n- name: slow\n- name: echo\n  inputs: [slow]\noutput:\n  steps: [echo]")


def outputs(server):
    consumer = confluent_kafka.Consumer({"bootstrap.servers": server.kafka, "group.id": "reader"})
    consumer.assign([confluent_kafka.TopicPartition(TOPIC, 0, 0)])
    found = consumer.consume(10, timeout=0.5)
    consumer.close()
    return [dict(m.headers()) for m in found if not m.error()]


def ready(server):
    wait_for(lambda: requests.get(f"http://{server.infer}/v2/pipelines/slowly/ready", timeout=10).status_code == 200, 30, "not ready")


def test_a_request_interrupted_by_a_crash_is_finished_by_the_version_it_was_admitted_on(start, tmp_path, toy):
    server = start()
    server.apply(tmp_path, "---".join([resources.toys(toy), resources.SLOW]))
    ready(server)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        lost = pool.submit(requests.post, f"http://{server.infer}/v2/pipelines/slowly/infer", json=BODY, timeout=30)
        wait_for(lambda: "millrace_runs 1" in requests.get(f"http://{server.infer}/metrics", timeout=10).text, 10, "not running")
        server.apply(tmp_path, NEWER)
        server.kill()
        assert isinstance(lost.exception(), requests.RequestException)
    again = start()
    ready(again)
    assert requests.post(f"http://{again.infer}/v2/pipelines/slowly/infer", json=BODY, timeout=30).headers["x-pipeline-version"] == "2"
    wait_for(lambda: sorted(h["x-pipeline-version"] for h in outputs(again)) == [b"1", b"2"], 30, lambda: outputs(again))


def test_a_version_goes_on_where_it_was_when_a_resource_is_deleted_and_applied_again(start, tmp_path, toy):
    server = start()
    server.apply(tmp_path, "---".join([resources.toys(toy), resources.SLOW]))
    server.apply(tmp_path, NEWER)
    server.cli("delete", "pipeline", "slowly")
    assert server.stop() == 0
    again = start()
    again.apply(tmp_path, resources.SLOW)
    assert json.loads(again.cli("get", "pipeline", "slowly", "--output", "json").stdout)["version"] == 3
