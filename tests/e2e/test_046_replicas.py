"""Many data planes on one Kafka: any of them answers; who owns a partition number recovers what the others leave. On a millrace
broker of its own process, and on a real Apache Kafka 3.8.1."""

import concurrent.futures

import confluent_kafka
import pytest
import requests
import resources
from harness import wait_for
from replicas import Load, check_log, header, identity, outcomes_of



@pytest.mark.parametrize("partitions", ["1", "6"])
def test_replicas_come_and_go_under_load_and_nobody_is_dropped_hung_or_answered_twice(fleet, toy, tmp_path, partitions):
    planes = fleet(2, "--kafka.topics.numPartitions", partitions)
    planes.apply(tmp_path, toy, resources.CHAIN)
    load = Load(planes)
    load.await_more(50)
    third = planes.add(asked=False)
    planes.await_ready(third, "chain")
    planes.members.append(third)
    planes.await_owners(planes.members)
    load.await_more(50)
    first = planes.members.pop(0)  # asked no more, as a load balancer would do; it finishes what it has
    assert first.stop() == 0, first.errors()
    planes.await_owners(planes.members)
    load.await_more(50)
    second = planes.members.pop(0)
    second.kill()
    load.await_more(50)
    planes.await_owners(planes.members)
    answers = load.end()
    assert set(answers.values()) <= {200, 503, None}, answers
    admitted, repeats = check_log(planes, answers)
    assert admitted >= load.count() and repeats == 0


def produce(planes, topic, value, keys, headers=()):
    producer = confluent_kafka.Producer({"bootstrap.servers": planes.bootstrap})
    for i, key in enumerate(keys):
        producer.produce(f"seldon.{planes.namespace}.{topic}", value, key, partition=i % planes.partitions, headers=list(headers))
    assert producer.flush(30) == 0


def test_what_nobody_waits_for_is_run_once_by_the_owner_also_when_owners_change(fleet, toy, tmp_path):
    planes = fleet(2, "--kafka.topics.numPartitions", "4")
    planes.partitions = 4
    planes.apply(tmp_path, toy, resources.CHAIN, resources.QUIET)
    planes.await_owners(planes.members)
    url = f"http://{planes.members[0].infer}/v2/pipelines/chain/infer"
    assert requests.post(url, json={"inputs": [resources.fp32([1, 2, 3, 4])]}, timeout=20).status_code == 200
    value = planes.records("pipeline.chain.inputs")[0].value()
    keys = [f"outside{i}".encode() for i in range(300)]
    for at, change in ((0, lambda: None), (100, planes.add), (200, lambda: planes.members.pop(0).kill())):
        produce(planes, "pipeline.chain.inputs", value, keys[at:at + 100], [("pipeline", b"chain")])
        for i in range(20):
            answer = requests.post(f"http://{planes.members[i % 2].infer}/v2/pipelines/quiet/infer", timeout=20,
                                   json={"inputs": [resources.fp32([1, 2, 3, 4])]}, headers={"x-request-id": f"quiet{at + i}"})
            assert answer.status_code == 202, answer.text
        change()

    def all_there(records):
        return {r.key() for r in records} >= set(keys)

    outputs = planes.records("pipeline.chain.outputs", all_there, 60)
    for run, records in outcomes_of(outputs).items():
        attempts = {header(r, "millrace-run") for r in records}
        assert len(attempts) == len(records), f"{run} has two outcomes of one attempt"
        assert not any(header(r, "seldon-pipeline-errors") for r in records)
    wanted = {f"quiet{at + i}" for at in (0, 100, 200) for i in range(20)}
    runs = planes.records("model.mul10.outputs", lambda rs: {header(r, "x-request-id") for r in rs} >= wanted, 60)
    quiet = [header(r, "millrace-run") for r in runs if header(r, "x-request-id") in wanted]
    assert len(set(quiet)) == len(quiet), "an attempt ran twice"


FOLLOWING = resources.pipeline("following", """
input:
  externalInputs: [chain.outputs]
  tensorMap: {chain.outputs.OUTPUT: INPUT}
steps:
- name: mul10
output: {steps: [mul10]}
""")


def test_what_other_pipelines_say_is_taken_once_also_when_owners_change(fleet, toy, tmp_path):
    planes = fleet(2, "--kafka.topics.numPartitions", "2")
    planes.apply(tmp_path, toy, resources.CHAIN, FOLLOWING)
    planes.await_owners(planes.members)

    def say(i):
        answer = requests.post(f"http://{planes.members[i % len(planes.members)].infer}/v2/pipelines/chain/infer", timeout=20,
                               json={"inputs": [resources.fp32([1, 2, 3, 4])]}, headers={"x-request-id": f"said{i}"})
        assert answer.status_code == 200, answer.text

    for change in (lambda: None, planes.add, lambda: planes.members.pop(0).stop(), lambda: planes.members.pop(0).kill()):
        first = planes.said = getattr(planes, "said", 0) + 30
        for i in range(first - 30, first):
            say(i)
            if i == first - 15:
                change()
    wanted = {f"said{i}" for i in range(planes.said)}
    outputs = planes.records("pipeline.following.outputs", lambda rs: {header(r, "x-request-id") for r in rs} >= wanted, 60)
    assert all(len(rs) == 1 for rs in outcomes_of(outputs).values())
    assert len({identity(header(r, "millrace-run")) for r in outputs}) == len(wanted), "a record of another pipeline was taken twice"


def test_apply_on_two_replicas_at_once_ends_the_same_on_both(fleet, toy, tmp_path):
    planes = fleet(2)
    planes.apply(tmp_path, toy, resources.CHAIN)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for turn in range(3):
            texts = [resources.CHAIN.replace("output:", f"maxStepRevisits: {turn * 8 + i + 1}\noutput:".replace("\n", "\n  "))
                     for i in range(8)]
            done = list(pool.map(lambda it: planes.members[it[0] % 2].apply(tmp_path, it[1]), enumerate(texts)))
            assert all(d.returncode == 0 for d in done)

    def seen(member):
        answer = requests.get(f"http://{member.infer}/v2/pipelines/chain/ready", timeout=10)
        shown = member.cli("get", "pipeline", "chain", "--output", "json").stdout
        return answer.status_code, shown

    wait_for(lambda: seen(planes.members[0]) == seen(planes.members[1]), 10, lambda: f"{[seen(m) for m in planes.members]}")
    records = [r for r in planes.records("control.resources") if r.key() == b"Pipeline/chain"]
    assert len(records) >= 9
    for member in planes.members:
        answer = requests.post(f"http://{member.infer}/v2/pipelines/chain/infer", timeout=20,
                               json={"inputs": [resources.fp32([1, 2, 3, 4])]})
        assert answer.status_code == 200, answer.text


def test_a_data_plane_outside_an_embedded_broker_that_serves_its_namespace_is_refused(start):
    inside = start("--namespace", "taken", data="inside")
    with pytest.raises((AssertionError, requests.ConnectionError)) as refused:
        outside = start("--no-broker", "--bootstrap", inside.kafka, "--namespace", "taken", data="outside")
        wait_for(lambda: outside.child.poll() is not None, 20, "it goes on")
        outside.killed = True
        assert outside.child.returncode != 1, outside.errors()
    assert "namespace taken is served by the data plane inside the broker" in str(refused.value)
    other = start("--no-broker", "--bootstrap", inside.kafka, "--namespace", "free", data="other")
    wait_for(lambda: "owned=64" in other.log.read_text(), 20, other.errors)
