"""Pipelines over a model server, on the embedded broker and on a real Apache Kafka: answers and records."""

import concurrent.futures
import socket
import time

import confluent_kafka
import confluent_kafka.admin
import pytest
import requests
import resources
from harness import wait_for


def infer(plane, name, inputs, headers=None, timeout=20, kind="pipelines"):
    return requests.post(f"http://{plane.infer}/v2/{kind}/{name}/infer", json={"inputs": inputs}, headers=headers or {},
                         timeout=timeout)


def read_topic(plane, topic, at_least=1, seconds=20):
    """All records of a topic, once there are at least so many. No group: its first rebalance takes seconds."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": plane.bootstrap, "group.id": "none", "enable.auto.commit": False})
    name = f"seldon.{plane.namespace}.{topic}"
    partitions = wait_for(lambda: consumer.list_topics(name, timeout=10).topics[name].partitions, seconds, f"there is no {name}")
    consumer.assign([confluent_kafka.TopicPartition(name, p, confluent_kafka.OFFSET_BEGINNING) for p in partitions])
    got = []

    def more():
        got.extend(m for m in consumer.consume(100, 0.1) if m.error() is None)
        return len(got) >= at_least

    wait_for(more, seconds, lambda: f"{len(got)} of {at_least} records came to {name}")
    consumer.close()
    return got


@pytest.fixture
def loaded(plane, toy, tmp_path):
    def load(*texts):
        plane.apply(tmp_path, "---".join([resources.toys(toy), *texts]))
        for text in texts:
            name = text.split("{name: ")[1].split("}")[0]
            wait_for(lambda n=name: requests.get(f"http://{plane.infer}/v2/pipelines/{n}/ready", timeout=10).status_code == 200,
                     30, lambda n=name: f"pipeline {n} never got ready: {plane.errors()}")
        return plane

    return load


def topics_of(plane):
    consumer = confluent_kafka.Consumer({"bootstrap.servers": plane.bootstrap, "group.id": "none"})
    names = set(consumer.list_topics(timeout=10).topics)
    consumer.close()
    return names


@pytest.fixture
def waiting():
    """A pipeline whose model takes calls and never answers: a request to it is at work for as long as the test wants."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield "---".join([
            resources.server("127.0.0.1:%d" % silent.getsockname()[1]).replace("name: toy", "name: silent").replace("[toy]", "[silence]"),
            resources.model("hang", "silence"), resources.pipeline("waits", """
dataflow: {cleanTopicsOnDelete: true}
steps:
- {name: hang}
output: {steps: [hang]}
""")])


def test_the_topics_of_a_deleted_pipeline_go_also_when_the_process_was_killed_before(plane, start, toy, waiting, tmp_path, kafka_cluster):
    plane.apply(tmp_path, "---".join([resources.toys(toy), waiting, resources.CHAIN]))
    url = f"http://{plane.infer}/v2/pipelines/waits/infer"
    with concurrent.futures.ThreadPoolExecutor() as pool:
        call = pool.submit(lambda: requests.post(url, json={"inputs": [resources.fp32([1])]}, timeout=60))
        read_topic(plane, "pipeline.waits.inputs")
        plane.cli("delete", "pipeline", "waits")
        assert any(".waits." in name for name in topics_of(plane))  # the request that runs needs them
        plane.kill()
        assert call.exception(timeout=30)
    where = [] if kafka_cluster is None else ["--no-broker", "--bootstrap", kafka_cluster.address]
    again = start(*where, "--namespace", plane.namespace)
    again.bootstrap = again.kafka if kafka_cluster is None else kafka_cluster.address
    wait_for(lambda: not any(".waits." in name for name in topics_of(again)), 30, "the topics are still there")
    assert f"seldon.{plane.namespace}.pipeline.chain.inputs" in topics_of(again)


def test_a_chain_answers_and_leaves_a_record_of_every_hop(loaded):
    plane = loaded(resources.CHAIN)
    answer = infer(plane, "chain", [resources.fp32([1, 2, 3, 4])], {"x-request-id": "id-1", "x-who": "me", "cookie": "secret"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/json")
    output = answer.json()["outputs"][0]
    assert (output["name"], output["datatype"], output["data"]) == ("OUTPUT", "FP32", [20, 30, 40, 50])
    assert answer.headers["x-pipeline-version"] == "1"
    for topic in ("pipeline.chain.inputs", "model.mul10.inputs", "model.mul10.outputs", "model.add10.inputs",
                  "model.add10.outputs", "pipeline.chain.outputs"):
        record = read_topic(plane, topic)[0]
        assert record.key() == f"{record.partition()}.chain.id-1".encode(), topic
        headers = [(key, value) for key, value in record.headers()]
        assert ("pipeline", b"chain") in headers and ("x-request-id", b"id-1") in headers and ("x-who", b"me") in headers
        assert not any(key == "cookie" for key, _ in headers)


def test_a_join_waits_for_both_sides(loaded):
    plane = loaded(resources.JOIN)
    answer = infer(plane, "join", [resources.fp32([1, 2, 3, 4])])
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"][0]["data"] == [21, 32, 43, 54]


def test_conditions_choose_the_branch(loaded):
    plane = loaded(resources.CONDITIONAL)
    for choice, expected in ((0, [10, 20, 30, 40]), (1, [11, 12, 13, 14])):
        inputs = [{"name": "CHOICE", "shape": [1], "datatype": "INT32", "data": [choice]},
                  resources.fp32([1, 2, 3, 4], "INPUT0"), resources.fp32([1, 2, 3, 4], "INPUT1")]
        answer = infer(plane, "choose", inputs)
        assert answer.status_code == 200, answer.text
        assert answer.json()["outputs"][0]["data"] == expected


def test_a_models_error_reaches_the_caller_and_the_topics(loaded):
    plane = loaded(resources.FAILING)
    answer = infer(plane, "failing", [resources.fp32([1, 2, 3, 4])], {"x-request-id": "bad"})
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.json()["error"].startswith("error : ")
    record = read_topic(plane, "errors.errors")[0]
    assert record.key().endswith(b".failing.bad") and ("seldon-pipeline-errors", b"error") in record.headers()
    outcome = read_topic(plane, "pipeline.failing.outputs")[0]
    assert ("seldon-pipeline-errors", b"error") in outcome.headers()


def test_a_deadline_is_kept(loaded):
    plane = loaded(resources.SLOW)
    begun = time.monotonic()
    answer = infer(plane, "slowly", [resources.fp32([1, 2])], {"x-request-timeout": "0.2"})
    assert answer.status_code == 504 and "error" in answer.json()
    assert time.monotonic() - begun < 5
    assert infer(plane, "slowly", [resources.fp32([1, 2])]).status_code == 200


def test_a_pipeline_without_output_accepts_and_runs(loaded):
    plane = loaded(resources.QUIET)
    answer = infer(plane, "quiet", [resources.fp32([1, 2, 3, 4])], {"x-request-id": "q1"})
    assert answer.status_code == 202, answer.text
    assert read_topic(plane, "model.mul10.outputs")[0].key().endswith(b".quiet.q1")


def test_records_produced_from_outside_are_executed_whatever_their_key(loaded):
    plane = loaded(resources.CHAIN)
    assert infer(plane, "chain", [resources.fp32([1, 2, 3, 4])], {"x-request-id": "seed"}).status_code == 200
    value = read_topic(plane, "pipeline.chain.inputs")[0].value()
    producer = confluent_kafka.Producer({"bootstrap.servers": plane.bootstrap})
    topic = f"seldon.{plane.namespace}.pipeline.chain.inputs"
    for key in (b"0.chain.outside", b"any key", None):
        producer.produce(topic, value, key, headers=[("pipeline", b"chain")])
    producer.produce(topic, b"\xff\xff poison", b"0.chain.poison", headers=[("pipeline", b"chain")])
    producer.produce(topic, value, b"0.chain.after", headers=[("pipeline", b"chain")])
    assert producer.flush(30) == 0
    outcomes = read_topic(plane, "pipeline.chain.outputs", at_least=6, seconds=40)
    keys = [m.key() for m in outcomes]
    assert b"0.chain.outside" in keys and b"any key" in keys and b"0.chain.after" in keys
    poison = next(m for m in outcomes if m.key() == b"0.chain.poison")
    assert any(key == "seldon-pipeline-errors" for key, _ in poison.headers())


def committed(plane, pipeline):
    """How far its inputs are finished, in partition 0."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": plane.bootstrap, "group.id": f"seldon-{plane.namespace}-flow-{pipeline}"})
    try:
        topic = f"seldon.{plane.namespace}.pipeline.{pipeline}.inputs"
        return consumer.committed([confluent_kafka.TopicPartition(topic, 0)], timeout=10)[0].offset
    finally:
        consumer.close()


def test_an_inputs_topic_that_is_deleted_is_made_again_and_read_from_its_start(loaded):
    plane = loaded(resources.CHAIN)
    for i in range(3):
        assert infer(plane, "chain", [resources.fp32([1, 2, 3, 4])], {"x-request-id": f"seed{i}"}).status_code == 200
    value = read_topic(plane, "pipeline.chain.inputs")[0].value()
    topic = f"seldon.{plane.namespace}.pipeline.chain.inputs"
    wait_for(lambda: committed(plane, "chain") == 3, 20, "what was answered is not committed")
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": plane.bootstrap})
    admin.delete_topics([topic])[topic].result(30)

    def there_again():  # made by us or, where that is quicker, by the data plane; not while the old one is being deleted
        try:
            admin.create_topics([confluent_kafka.admin.NewTopic(topic, 1, 1)])[topic].result(30)
        except confluent_kafka.KafkaException:
            pass
        return topic in admin.list_topics(timeout=10).topics

    wait_for(there_again, 30, "the topic does not come back")
    wait_for(lambda: "the topic was made again" in plane.errors(), 30, lambda: f"nobody noticed: {plane.errors()}")
    producer = confluent_kafka.Producer({"bootstrap.servers": plane.bootstrap})
    producer.produce(topic, value, b"0.chain.again", headers=[("pipeline", b"chain")])
    assert producer.flush(30) == 0
    assert b"0.chain.again" in [m.key() for m in read_topic(plane, "pipeline.chain.outputs", at_least=4)]


def test_an_idempotency_key_gives_the_same_answer_and_refuses_other_bytes(loaded):
    plane = loaded(resources.CHAIN)
    headers = {"Idempotency-Key": "once"}
    first = infer(plane, "chain", [resources.fp32([1, 2, 3, 4])], headers)
    again = infer(plane, "chain", [resources.fp32([1, 2, 3, 4])], headers)
    assert first.status_code == again.status_code == 200 and first.json() == again.json()
    assert len(read_topic(plane, "model.mul10.inputs")) == 1
    other = infer(plane, "chain", [resources.fp32([9, 9, 9, 9])], headers)
    assert other.status_code == 409, other.text


def test_many_callers_at_once_all_get_their_own_answer(loaded):
    plane = loaded(resources.JOIN)

    def call(i):
        answer = infer(plane, "join", [resources.fp32([i, 0, 0, 0])])
        return answer.status_code == 200 and answer.json()["outputs"][0]["data"][0] == 11 * i + 10

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert all(pool.map(call, range(300)))


def test_a_model_called_directly_goes_through_the_log_and_reports_its_errors(loaded):
    plane = loaded(resources.CHAIN)
    answer = infer(plane, "mul10", [resources.fp32([1, 2])], {"x-request-id": "direct"}, kind="models")
    assert answer.status_code == 200 and answer.json()["outputs"][0]["data"] == [10, 20]
    assert read_topic(plane, "model.mul10.inputs")[0].key() == b"0.mul10.direct"
    refused = infer(plane, "error", [resources.fp32([1, 2])], kind="models")
    assert 400 <= refused.status_code < 500 and refused.json()["error"]


def test_ready_tells_ready_unknown_and_not_ready(loaded, toy, tmp_path):
    plane = loaded(resources.CHAIN)
    ready = lambda name: requests.get(f"http://{plane.infer}/v2/pipelines/{name}/ready", timeout=10).status_code  # noqa: E731
    assert ready("chain") == 200 and ready("nowhere") == 404
    plane.apply(tmp_path, resources.model("homeless", "no-such-capability") + "---" +
                resources.pipeline("stuck", "steps:\n- name: homeless\noutput:\n  steps: [homeless]"))
    assert wait_for(lambda: ready("stuck"), 10, "no answer") == 424


def test_resources_and_data_survive_kill_9(start, toy, tmp_path):
    first = start()
    first.apply(tmp_path, "---".join([resources.toys(toy), resources.CHAIN]))
    url = lambda server, what: f"http://{server.infer}/v2/pipelines/chain/{what}"  # noqa: E731
    wait_for(lambda: requests.get(url(first, "ready"), timeout=10).status_code == 200, 30, "not ready")
    body = {"inputs": [resources.fp32([1, 2, 3, 4])]}
    assert requests.post(url(first, "infer"), json=body, headers={"x-request-id": "before"}, timeout=10).status_code == 200
    first.kill()
    second = start()
    second.bootstrap, second.namespace = second.kafka, "default"
    wait_for(lambda: requests.get(url(second, "ready"), timeout=10).status_code == 200, 30, "not ready again")
    assert read_topic(second, "pipeline.chain.outputs")[0].key() == b"0.chain.before"
    assert requests.post(url(second, "infer"), json=body, timeout=10).json()["outputs"][0]["data"] == [20, 30, 40, 50]


def test_runs_cut_by_kill_9_get_their_outcome_after_the_restart(start, toy, tmp_path):
    first = start()
    first.apply(tmp_path, "---".join([resources.toys(toy), resources.SLOW]))
    wait_for(lambda: requests.get(f"http://{first.infer}/v2/pipelines/slowly/ready", timeout=10).status_code == 200, 30, "not ready")
    first.bootstrap, first.namespace = first.kafka, "default"
    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        calls = [pool.submit(infer, first, "slowly", [resources.fp32([1])], {"x-request-id": f"cut-{i}"}) for i in range(5)]
        read_topic(first, "model.slow.inputs", at_least=5)
        first.kill()
        assert all(call.exception(20) is not None for call in calls)
    second = start()
    second.bootstrap, second.namespace = second.kafka, "default"
    outcomes = read_topic(second, "pipeline.slowly.outputs", at_least=5, seconds=30)
    assert sorted(m.key() for m in outcomes) == sorted(f"0.slowly.cut-{i}".encode() for i in range(5))
