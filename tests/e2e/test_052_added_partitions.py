"""Partitions that a user adds to the topics of a running pipeline or model: they are owned and run without a restart. Inside a
broker, on a millrace broker that several processes share, and on a real Apache Kafka 3.8.1."""

import confluent_kafka
import confluent_kafka.admin
import requests
import resources
from replicas import Fleet, header


def add_partitions(bootstrap, topic, n):
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.create_partitions([confluent_kafka.admin.NewPartitions(topic, n)]).values():
        future.result(timeout=20)


def produce(bootstrap, topic, value, partitions, headers=()):
    """One record to each partition, with its number as the key; as long as a client needs to hear of new ones."""
    producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap, "topic.metadata.refresh.interval.ms": 200})
    left = list(partitions)
    while left:
        try:
            producer.produce(topic, value, str(left[0]), partition=left[0], headers=list(headers))
            left.pop(0)
        except confluent_kafka.KafkaException:
            producer.list_topics(topic, timeout=10)
    assert producer.flush(30) == 0


def ask(member, value=1.0):
    answer = requests.post(f"http://{member.infer}/v2/pipelines/chain/infer", timeout=20,
                           json={"inputs": [resources.fp32([value] * 4)]})
    assert answer.status_code == 200, answer.text
    return answer.json()["outputs"][0]["data"][0]


def check(planes, members):
    """Outputs first, as docs/on-kafka.md says; records are there before anybody has looked."""
    prefix = f"seldon.{planes.namespace}"
    assert ask(members[0]) == 20.0
    value = planes.records("pipeline.chain.inputs")[0].value()
    for topic in ("pipeline.chain.outputs", "pipeline.chain.inputs", "model.mul10.outputs", "model.mul10.inputs"):
        add_partitions(planes.bootstrap, f"{prefix}.{topic}", 5)
    produce(planes.bootstrap, f"{prefix}.pipeline.chain.inputs", value, range(5), [("pipeline", b"chain")])
    produce(planes.bootstrap, f"{prefix}.model.mul10.inputs", value, range(5))
    outputs = planes.records("pipeline.chain.outputs", lambda rs: {r.key() for r in rs} >= {b"0", b"1", b"2", b"3", b"4"}, 60)
    outside = {r.key(): r.partition() for r in outputs if len(r.key()) == 1}
    assert outside == {str(p).encode(): p for p in range(5)}
    assert not any(header(r, "seldon-pipeline-errors") for r in outputs)
    planes.records("model.mul10.outputs", lambda rs: {r.key() for r in rs} >= {b"2", b"3", b"4"}, 60)
    for i in range(10):
        assert ask(members[i % len(members)], i) == i * 10 + 10
    inputs = planes.records("pipeline.chain.inputs", lambda rs: len(rs) == 16)
    assert {r.partition() for r in inputs if len(r.key()) > 1} - {0, 1}, "no request went to an added partition"
    assert len(planes.records("pipeline.chain.outputs", lambda rs: len(rs) >= 16)) == 16


def test_partitions_added_to_topics_of_an_embedded_broker_are_run_without_a_restart(start, toy, tmp_path):
    plane = start("--kafka.topics.numPartitions", "2")
    plane.apply(tmp_path, "---".join([resources.toys(toy), resources.CHAIN]))
    planes = Fleet(start, plane.kafka, "default")
    planes.await_ready(plane, "chain")
    check(planes, [plane])


def test_partitions_added_on_a_shared_kafka_are_owned_and_run_without_a_restart(fleet, toy, tmp_path):
    planes = fleet(2, "--kafka.topics.numPartitions", "2")
    planes.apply(tmp_path, toy, resources.CHAIN)
    planes.await_owners(planes.members)
    check(planes, planes.members)
