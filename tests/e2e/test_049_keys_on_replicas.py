"""One Idempotency-Key at several data planes on one Kafka: one run and one answer, at whichever of them it is sent, also at the same
moment, and also when the one that runs it is killed. On a millrace broker, and on a real Apache Kafka 3.8.1."""

import collections
import concurrent.futures
import json

import confluent_kafka
import requests
import resources
from harness import wait_for
from replicas import claims, good_runs, header, identity, infer_with_key as infer


def test_a_key_that_one_replica_has_answered_is_known_to_the_other(fleet, toy, tmp_path):
    planes = fleet(2, "--kafka.topics.numPartitions", "3")
    planes.apply(tmp_path, toy, resources.CHAIN, resources.QUIET)
    first, second = planes.members
    for i in range(5):
        answers = [infer(member, "chain", f"key{i}", i) for member in (first, second, second, first)]
        assert {(a.status_code, a.text) for a in answers} == {(200, answers[0].text)}
    assert infer(second, "chain", "key0", 99).status_code == 409
    assert sorted(map(len, claims(planes, "chain").values())) == [1] * 5
    assert len({identity(header(r, "millrace-run")) for r in planes.records("model.mul10.inputs")}) == 5
    for member in (first, second, first):
        assert infer(member, "quiet", "quiet").status_code == 202
    assert [len(records) for records in claims(planes, "quiet").values()] == [1]


def test_a_key_at_both_replicas_at_the_same_moment_is_one_run(fleet, toy, tmp_path):
    planes = fleet(2, "--kafka.topics.numPartitions", "3")
    planes.apply(tmp_path, toy, resources.CHAIN, resources.QUIET)
    planes.await_owners(planes.members)
    keys = [f"key{i}" for i in range(25)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for name, status in (("chain", 200), ("quiet", 202)):
            calls = [pool.submit(infer, member, name, key, i) for i, key in enumerate(keys) for member in planes.members * 2]
            answers = [call.result() for call in calls]
            assert {a.status_code for a in answers} == {status}, collections.Counter(a.text for a in answers).most_common(3)
            assert all(len({a.text for a in answers[i:i + 4]}) == 1 for i in range(0, len(answers), 4))
    assert all(len(runs) == 1 for runs in good_runs(planes, "chain").values())
    hops = planes.records("model.mul10.outputs", lambda rs: len(rs) >= 50)
    assert len({identity(header(r, "millrace-run")) for r in hops}) == len(hops) == 50, "a key was run twice"


def test_a_key_whose_process_is_killed_gets_its_answer_from_another_and_one_output(fleet, toy, tmp_path):
    planes = fleet(2)
    planes.apply(tmp_path, toy, resources.SLOW)
    planes.await_owners(planes.members)
    victim, other = planes.members
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        lost = [pool.submit(infer, victim, "slowly", f"key{i}", 1, 2) for i in range(2)]
        planes.records("pipeline.slowly.inputs", lambda rs: len(rs) == 2)
        waits = [pool.submit(infer, other, "slowly", f"key{i}", 1, 30) for i in range(2)]
        victim.kill()
        assert all(isinstance(call.exception(), requests.RequestException) for call in lost)
        assert [call.result().status_code for call in waits] == [200, 200], other.errors()
    assert [len(runs) for runs in good_runs(planes, "slowly").values()] == [1, 1]
    assert infer(other, "slowly", "key0").text == waits[0].result().text


def committed(planes, group, topic):
    consumer = confluent_kafka.Consumer({"bootstrap.servers": planes.bootstrap, "group.id": group})
    try:
        return consumer.committed([confluent_kafka.TopicPartition(topic, 0)], timeout=10)[0].offset
    finally:
        consumer.close()


def test_the_input_of_a_claim_that_was_lost_is_no_run_for_anybody(fleet, toy, tmp_path):
    """As a process leaves it that was asked at the same moment as another one: nothing runs it, waits for it or sends it again."""
    planes = fleet(1)
    planes.apply(tmp_path, toy, resources.CHAIN)
    planes.await_owners(planes.members)
    member, topic = planes.members[0], f"seldon.{planes.namespace}.pipeline.chain.inputs"
    answer = infer(member, "chain", "key", timeout_s=2)
    first = planes.records("pipeline.chain.inputs")[0]
    run = header(first, "millrace-run").split("/")
    run[2] = "f" * len(run[2])  # of another process
    changed = {"millrace-run": "/".join(run).encode(), "x-request-id": b"lost"}
    producer = confluent_kafka.Producer({"bootstrap.servers": planes.bootstrap})
    producer.produce(topic, first.value(), b"0.chain.lost", partition=0, headers=[(k, changed.get(k, v)) for k, v in first.headers()])
    assert producer.flush(30) == 0
    wait_for(lambda: committed(planes, f"seldon-{planes.namespace}-flow-chain", topic) == 2, 30, "the owner waits for it")
    assert infer(member, "chain", "key").text == answer.text
    assert len(planes.records("pipeline.chain.outputs")) == len(planes.records("model.mul10.outputs")) == 1
    assert len(planes.records("errors.errors")) == 0
    traced = json.loads(member.cli("trace", "lost", "--output", "json").stdout)["records"]
    assert [r["topic"] for r in traced] == [topic]
    replayed = json.loads(member.cli("replay", "chain", "--into", "chain", "--check", "--output", "json").stdout)
    assert (replayed["requests"], replayed["leftOut"]) == (1, 1)
