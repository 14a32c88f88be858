"""Taking over from the original on one log: its consumer groups' offsets, and what is said while its engine is still at work."""

import hashlib
import json
import re

import confluent_kafka
import pytest
import requests
import resources
from confluent_kafka.admin import AdminClient, NewTopic
from harness import wait_for
from test_040_pipelines import infer, read_topic
from tritonclient.grpc import service_pb2

UID = "d4nks8jp1j6c73a3gnt0"  # as the original makes them: 20 characters
ENGINE = "seldon-dataflow-" + hashlib.md5(UID.encode()).hexdigest()


def request(value):
    message = service_pb2.ModelInferRequest()
    message.inputs.add(name="INPUT", datatype="FP32", shape=[1, 1]).contents.fp32_contents.append(value)
    return message.SerializeToString()


def values(plane, topic, at_least=1):
    """By key, what came out."""
    return {m.key(): service_pb2.ModelInferResponse.FromString(m.value()).outputs[0].contents.fp32_contents[0]
            for m in read_topic(plane, topic, at_least=at_least)}


def write(plane, topic, keys):
    producer = confluent_kafka.Producer({"bootstrap.servers": plane.bootstrap})
    for i, key in enumerate(keys):
        producer.produce(topic, request(i), key)
    assert producer.flush(30) == 0


def commit(plane, group, topic, offset):
    admin = AdminClient({"bootstrap.servers": plane.bootstrap})
    admin.alter_consumer_group_offsets(
        [confluent_kafka.ConsumerGroupTopicPartitions(group, [confluent_kafka.TopicPartition(topic, 0, offset)])])[group].result(30)


def committed(plane, group, *topics):
    wanted = [confluent_kafka.TopicPartition(t, 0) for t in topics]
    admin = AdminClient({"bootstrap.servers": plane.bootstrap})
    asked = admin.list_consumer_group_offsets([confluent_kafka.ConsumerGroupTopicPartitions(group, wanted)])
    return [p.offset for p in asked[group].result(30).topic_partitions]


def chain(uid=None):
    notes = f", annotations: {{millrace.io/seldon-uid: {uid}}}" if uid else ""
    return resources.CHAIN.replace("{name: chain}", "{name: chain" + notes + "}", 1)


@pytest.fixture
def seldon(start, toy, tmp_path, bus_kind, kafka_cluster, request):
    namespace = "s" + str(abs(hash(request.node.nodeid)) % 10**9)
    more = ["--namespace", namespace, "--compat.groups", "seldon"]
    if kafka_cluster:
        more += ["--no-broker", "--bootstrap", kafka_cluster.address]
    plane = start(*more)
    plane.bootstrap = kafka_cluster.address if kafka_cluster else plane.kafka
    plane.namespace = namespace
    return plane


def test_offsets_of_the_originals_groups_are_taken_over(seldon, toy, tmp_path):
    plane, space = seldon, seldon.namespace
    inputs, model = f"seldon.{space}.pipeline.chain.inputs", f"seldon.{space}.model.mul10.inputs"
    admin = AdminClient({"bootstrap.servers": plane.bootstrap})
    made = admin.create_topics([NewTopic(t, 1, 1) for t in (inputs, model)])
    for future in made.values():
        future.result(30)
    write(plane, inputs, [f"0.chain.p{i}".encode() for i in range(4)])
    write(plane, model, [f"0.mul10.m{i}".encode() for i in range(4)])
    commit(plane, f"{space}-{ENGINE}", inputs, 2)
    commit(plane, f"{space}-seldon-modelgateway-16", model, 3)
    plane.apply(tmp_path, resources.toys(toy) + "---" + chain(UID))
    assert values(plane, "pipeline.chain.outputs", 2) == {b"0.chain.p2": 30, b"0.chain.p3": 40}
    wait_for(lambda: {b"0.mul10.m3"} <= values(plane, "model.mul10.outputs").keys(), 30, plane.errors)
    assert not {b"0.mul10.m0", b"0.mul10.m1", b"0.mul10.m2"} & values(plane, "model.mul10.outputs").keys()
    wait_for(lambda: committed(plane, f"{space}-{ENGINE}", inputs) == [4], 30, lambda: committed(plane, f"{space}-{ENGINE}", inputs))
    assert not [g.group_id for g in admin.list_consumer_groups().result(30).valid if f"{space}-flow" in g.group_id]


def test_a_deleted_model_takes_only_its_own_offsets_from_the_group_it_shares(seldon, tmp_path, toy):
    plane, space = seldon, seldon.namespace
    number = {n: fnv(n) % 100 for n in (f"m{i}" for i in range(400))}
    one, two = next((a, b) for a in number for b in number if a < b and number[a] == number[b])
    plane.apply(tmp_path, "---".join([resources.server(toy), resources.model(one), resources.model(two)]))
    group, topics = f"{space}-seldon-modelgateway-{number[one]}", [f"seldon.{space}.model.{n}.inputs" for n in (one, two)]
    wait_for(lambda: committed(plane, group, *topics) == [0, 0], 30, plane.errors)
    plane.cli("delete", "model", one)
    wait_for(lambda: committed(plane, group, *topics) == [-1001, 0], 30, lambda: committed(plane, group, *topics))


def fnv(text):
    value = 2166136261
    for byte in text.encode():
        value = (value ^ byte) * 16777619 % 2**32
    return value


def listed(plane, name):
    return next(r for r in json.loads(plane.cli("get", "pipelines", "--output", "json").stdout)["resources"] if r["name"] == name)


def test_an_engine_that_is_still_at_work_is_said_until_it_stops(seldon, toy, tmp_path, kafka_cluster):
    plane, space = seldon, seldon.namespace
    plane.apply(tmp_path, "---".join([resources.toys(toy), chain(), resources.FAILING]))
    assert infer(plane, "chain", [resources.fp32([1])]).status_code == 200
    reader = confluent_kafka.Consumer({"bootstrap.servers": plane.bootstrap, "group.id": "dashboards"})
    engine = confluent_kafka.Consumer({"bootstrap.servers": plane.bootstrap, "group.id": f"{space}-seldon-dataflow-0123abcd"})
    reader.subscribe([f"seldon.{space}.pipeline.failing.inputs"])
    engine.subscribe([f"seldon.{space}.pipeline.chain.inputs"])

    def warned():
        engine.poll(0.05)
        reader.poll(0.05)
        return "warning" in listed(plane, "chain")

    wait_for(warned, 90, plane.errors)
    said = listed(plane, "chain")
    assert said["ready"] is True and f"{space}-seldon-dataflow-0123abcd" in said["warning"] and "warning" not in listed(plane, "failing")
    assert "seldon-dataflow-0123abcd" in plane.cli("get", "pipeline", "chain").stdout
    assert "seldon-dataflow-0123abcd" in plane.cli("describe", "pipeline", "chain").stdout
    metrics = requests.get(f"http://{plane.infer}/metrics", timeout=10).text
    assert re.search(r"^millrace_foreign_engines 1$", metrics, re.M)
    assert "flow.foreign " in plane.errors() and "run twice" in plane.errors()
    engine.close()
    reader.close()
    wait_for(lambda: "warning" not in listed(plane, "chain"), 90, plane.errors)
    assert "flow.foreign-gone" in plane.errors()
