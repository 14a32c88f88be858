"""What users of the original suffered from and no other test shows: docs/coming-from-seldon.md names the points."""

import collections
import concurrent.futures
import subprocess
import threading

import confluent_kafka
import confluent_kafka.admin
import grpc
import pytest
import requests
import resources
from harness import MILLRACE, wait_for
from test_040_pipelines import infer, read_topic
from tritonclient.grpc import service_pb2, service_pb2_grpc

ADDED = resources.pipeline("chain", "steps: [{name: mul10}, {name: add10, inputs: [mul10]}]\noutput: {steps: [add10]}")
CLEANED = resources.pipeline("loop", """
allowCycles: true
maxStepRevisits: 3
steps:
- name: mul10
  inputs: [loop.inputs, echo.outputs]
  inputsJoinType: any
- name: echo
  inputs: [mul10]
- name: add10
  inputs: [echo]
  triggers: [echo.outputs.never]
output: {steps: [add10]}
dataflow: {cleanTopicsOnDelete: true}
""")


def ready(server, name):
    url = f"http://{server.infer}/v2/pipelines/{name}/ready"
    wait_for(lambda: requests.get(url, timeout=10).status_code == 200, 30, lambda: f"{name}: {server.errors()}")


@pytest.fixture
def loaded(start, toy, tmp_path):
    def load(*texts, options=()):
        plane = start(*options)
        plane.bootstrap, plane.namespace = plane.kafka, "default"
        plane.apply(tmp_path, "---".join([resources.toys(toy), *texts]))
        for text in texts:
            ready(plane, text.split("{name: ")[1].split("}")[0])
        return plane

    return load


def test_one_id_used_by_many_at_once_mixes_up_no_answers(loaded):
    plane = loaded(resources.JOIN, resources.SLOW, options=("--kafka.topics.numPartitions", "3"))

    def call(n):
        name, wanted = ("join", 11 * n + 10) if n % 2 else ("slowly", n)
        answer = infer(plane, name, [resources.fp32([n])], {"x-request-id": "the-same"})
        return answer.status_code == 200 and answer.json()["outputs"][0]["data"] == [wanted]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(call, range(24)))


def test_several_tensors_of_one_topic_are_joined_as_declared(loaded):
    both = "steps: [{name: raw, inputs: [NAME.inputs.A, NAME.inputs.B]MORE}]\noutput: {steps: [raw]}"
    plane = loaded(*(resources.pipeline(name, both.replace("NAME", name).replace("MORE", more))
                     for name, more in (("inner", ""), ("outer", ", inputsJoinType: outer"), ("any", ", inputsJoinType: any"))))
    one, two = [resources.fp32([1], "A")], [resources.fp32([1], "A"), resources.fp32([2], "B")]
    refused = infer(plane, "inner", one)
    assert refused.status_code == 422 and "no tensor B" in refused.json()["error"], refused.text
    for name, inputs, wanted in (("inner", two, "AB"), ("outer", one, "A"), ("outer", two, "AB"), ("any", one, "A")):
        answer = infer(plane, name, inputs)
        assert answer.status_code == 200 and "".join(o["name"] for o in answer.json()["outputs"]) == wanted, (name, answer.text)


def test_a_misspelt_protocol_is_refused_with_its_place(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("security:\n  kafka: {protocol: SASL_SLS}\n")
    done = subprocess.run([MILLRACE, "config", "--config", path], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0 and ":2:21: security.kafka.protocol:" in done.stderr and "SASL_SLS" in done.stderr


def test_updates_and_new_pipelines_lose_and_double_no_call(loaded, tmp_path):
    plane = loaded(resources.CHAIN)
    seen, over = collections.Counter(), threading.Event()

    def caller():
        while not over.is_set():
            answer = infer(plane, "chain", [resources.fp32([1])])
            seen[answer.status_code, answer.headers.get("x-pipeline-version")] += 1

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(caller) for _ in range(2)]
        try:
            for i in range(6):
                plane.apply(tmp_path, (ADDED, resources.CHAIN)[i % 2])
                plane.apply(tmp_path, resources.CHAIN.replace("chain", f"other{i}"))
                wait_for(lambda v=str(i + 2): seen[200, v] > 1, 10, lambda: f"{seen}")
        finally:
            over.set()
        assert [call.result(30) for call in calls] == [None, None]
    total = sum(seen.values())
    assert {status for status, _ in seen if seen[status, _]} == {200}, seen
    for topic in ("pipeline.chain.inputs", "model.add10.outputs", "pipeline.chain.outputs"):
        keys = collections.Counter(record.key() for record in read_topic(plane, topic, at_least=total))
        assert len(keys) == total and set(keys.values()) == {1}, topic


def test_a_value_that_begins_like_an_error_is_a_value(loaded):
    plane = loaded(resources.CHAIN)
    value = b"ERROR:\x04\x00\x00\x80\x3f"  # an unknown field of four bytes, then raw_input_contents, whose tag is the colon
    message = service_pb2.ModelInferRequest(inputs=[{"name": "INPUT", "datatype": "FP32", "shape": [1]}])
    producer = confluent_kafka.Producer({"bootstrap.servers": plane.kafka})
    producer.produce("seldon.default.pipeline.chain.inputs", value + message.SerializeToString(), b"0.chain.e",
                     headers=[("pipeline", b"chain")])
    assert producer.flush(30) == 0
    outcome = read_topic(plane, "pipeline.chain.outputs")[0]
    assert not any(name == "seldon-pipeline-errors" for name, _ in outcome.headers()), outcome.value()
    answer = service_pb2.ModelInferResponse.FromString(outcome.value())
    assert answer.raw_output_contents == [b"\x00\x00\xa0\x41"] or answer.outputs[0].contents.fp32_contents == [20]


def test_all_topics_take_messages_of_one_size(loaded):
    plane = loaded(resources.CHAIN)
    assert infer(plane, "failing", [resources.fp32([1])]).status_code == 404
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": plane.kafka})
    topics = [t for t in admin.list_topics(timeout=10).topics if ".model." in t or ".pipeline." in t or ".errors." in t]
    asked = admin.describe_configs([confluent_kafka.admin.ConfigResource("topic", t) for t in topics])
    sizes = {resource.name: future.result(30)["max.message.bytes"].value for resource, future in asked.items()}
    assert len(sizes) >= 7 and set(sizes.values()) == {"1000000000"}, sizes


def test_cycle_limits_and_the_wish_to_clean_outlive_a_crash(loaded, start):
    first = loaded(CLEANED)
    before = infer(first, "loop", [resources.fp32([1])])
    assert before.status_code == 400 and "has run 3 times" in before.json()["error"], before.text
    first.kill()
    again = start()
    ready(again, "loop")
    after = infer(again, "loop", [resources.fp32([1])])
    assert after.status_code == 400 and "has run 3 times" in after.json()["error"], after.text
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": again.kafka})
    left = lambda: [t for t in admin.list_topics(timeout=10).topics if ".pipeline.loop." in t]  # noqa: E731
    groups = lambda: [g.id for g in admin.list_groups(timeout=10) if g.id.endswith("flow-loop")]  # noqa: E731
    assert left() and groups()
    again.cli("delete", "pipeline", "loop")
    wait_for(lambda: not left() and not groups(), 20, lambda: f"{left()} {groups()}")


def test_ids_large_integers_and_nested_strings_come_back(loaded):
    plane = loaded(resources.pipeline("mirror", "steps: [{name: raw}]\noutput: {steps: [raw]}"))
    numbers = [2**63 - 1, -(2**63), 2**53 + 1]
    body = {"id": "mine", "inputs": [{"name": "A", "shape": [3], "datatype": "INT64", "data": numbers}]}
    answer = requests.post(f"http://{plane.infer}/v2/pipelines/mirror/infer", json=body, timeout=10)
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("application/json"), answer.text
    assert answer.json()["id"] == "mine" and answer.json()["outputs"][0]["data"] == numbers
    body = {"inputs": [{"name": "A", "shape": [1, 2], "datatype": "BYTES", "data": [["one", "two"]]}]}
    answer = requests.post(f"http://{plane.infer}/v2/pipelines/mirror/infer", json=body, timeout=10)
    assert answer.status_code == 200 and answer.json()["outputs"][0]["data"] == ["b25l", "dHdv"], answer.text
    empty = requests.post(f"http://{plane.infer}/v2/pipelines/mirror/infer", json={}, timeout=10)
    assert empty.status_code >= 400 and empty.json()["error"]


def test_json_that_is_no_object_harms_neither_a_model_nor_the_next_start(loaded, start):
    first = loaded(resources.CHAIN)
    assert infer(first, "mul10", [resources.fp32([1])], kind="models").status_code == 200
    producer = confluent_kafka.Producer({"bootstrap.servers": first.kafka})
    for value in (b"[1,2,3]", b"7", b"\x00\x00\x00\x00\x01\x00"):
        producer.produce("seldon.default.model.mul10.inputs", value, b"0.mul10.odd")
    assert producer.flush(30) == 0
    assert len(read_topic(first, "errors.errors", at_least=3)) == 3
    first.kill()
    again = start()
    again.bootstrap, again.namespace = again.kafka, "default"
    ready(again, "chain")
    assert infer(again, "mul10", [resources.fp32([1])], kind="models").json()["outputs"][0]["data"] == [10]
    assert len(read_topic(again, "errors.errors", at_least=3)) == 3


def test_grpc_readiness_takes_a_name_with_its_kind(loaded):
    plane = loaded(resources.CHAIN)
    with grpc.insecure_channel(plane.infer) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for name in ("chain", "chain.pipeline", "mul10", "mul10.model"):
            assert stub.ModelReady(service_pb2.ModelReadyRequest(name=name), timeout=10).ready, name
