"""Two versions of millrace side by side on one Kafka: this one, and one that writes what a later version may (tests/meson.build):
control records of the next format, headers, fields and metadata that this one does not know. MILLRACE_OLD_BIN=FILE puts an older
program beside it too (./dev ci --full builds one from the history)."""

import os

import confluent_kafka
import harness
import pytest
import requests
import resources
from harness import wait_for
from replicas import Load, check_log, good_runs, header, infer_with_key, outcomes_of

OLDER = os.environ.get("MILLRACE_OLD_BIN")


@pytest.fixture(params=["newer", *(["older"] if OLDER else [])])
def other(request):
    return harness.MILLRACE_NEXT if request.param == "newer" else OLDER


def produce(planes, value, keys):
    producer = confluent_kafka.Producer({"bootstrap.servers": planes.bootstrap})
    for i, key in enumerate(keys):
        producer.produce(f"seldon.{planes.namespace}.pipeline.chain.inputs", value, key, partition=i % 3, headers=[("pipeline", b"chain")])
    assert producer.flush(30) == 0


def test_two_versions_share_the_work_and_take_over_from_each_other(fleet, toy, tmp_path, other):
    planes = fleet(1, "--kafka.topics.numPartitions", "3")
    planes.add(binary=other)
    planes.apply(tmp_path, toy, resources.CHAIN, resources.QUIET)
    planes.await_owners(planes.members)
    load = Load(planes)
    load.await_more(30)
    value = planes.records("pipeline.chain.inputs", lambda rs: rs)[0].value()
    keys = [f"outside{i}".encode() for i in range(120)]
    produce(planes, value, keys[:40])
    planes.members.pop(1).kill()  # what the other one left is this one's
    planes.await_owners(planes.members)
    load.await_more(30)
    produce(planes, value, keys[40:80])
    planes.add(binary=other)
    planes.await_owners(planes.members)
    first = planes.members.pop(0)  # and the other way round
    first.kill()
    produce(planes, value, keys[80:])
    planes.await_owners(planes.members)
    load.await_more(30)
    planes.await_ready(planes.add(asked=False), "chain")
    answers = load.end()
    assert set(answers.values()) <= {200, 503, None}, answers
    admitted, repeats = check_log(planes, answers)
    assert admitted >= load.count() and repeats == 0
    outputs = planes.records("pipeline.chain.outputs", lambda rs: {r.key() for r in rs} >= set(keys), 60)
    assert not any(header(r, "seldon-pipeline-errors") for r in outputs if r.key() in keys)
    for run, records in outcomes_of(outputs).items():
        assert len({header(r, "millrace-run") for r in records}) == len(records), f"{run} has two outcomes of one attempt"
    if other == harness.MILLRACE_NEXT:
        assert {header(r, "millrace-next") is None for r in outputs} == {True, False}, "both versions have written"


def test_an_idempotency_key_holds_over_two_versions(fleet, toy, tmp_path):
    planes = fleet(1)
    planes.add(binary=harness.MILLRACE_NEXT)
    planes.apply(tmp_path, toy, resources.CHAIN)
    for i in range(4):
        answers = [infer_with_key(planes.members[turn % 2], "chain", f"key{i}", i) for turn in (i, i + 1, i)]
        assert {(a.status_code, a.text) for a in answers} == {(200, answers[0].text)}
    assert [len(runs) for runs in good_runs(planes, "chain").values()] == [1] * 4


def test_what_a_newer_version_applies_is_left_alone_and_what_was_there_goes_on(fleet, toy, tmp_path):
    planes = fleet(1)
    newer = planes.add(binary=harness.MILLRACE_NEXT)
    ours = planes.members[0]
    planes.apply(tmp_path, toy, resources.CHAIN)
    planes.await_owners(planes.members)
    load = Load(planes)
    load.await_more(20)
    newer.apply(tmp_path, resources.CHAIN.replace("output:", "maxStepRevisits: 7\n  output:"))
    newer.apply(tmp_path, resources.QUIET)
    wait_for(lambda: ours.errors().count("record_left_alone") == 2, 20, ours.errors)
    assert "written in format 2 by a newer millrace; this one reads 1" in ours.errors()
    planes.await_ready(newer, "quiet")
    assert requests.get(f"http://{ours.infer}/v2/pipelines/quiet/ready", timeout=10).status_code == 404
    load.await_more(40)
    refused = ours.cli("apply", "-f", "-", check=False, stdin=resources.CHAIN)
    assert refused.returncode != 0 and "this version does not understand it" in refused.stdout + refused.stderr
    ours.kill()  # it begins with what it finds in the log
    planes.members.remove(ours)
    again = planes.add(asked=False)
    planes.await_ready(again, "chain")
    planes.members.append(again)
    planes.await_owners(planes.members)
    load.await_more(40)
    newer.stop()  # its numbers, and the pipeline's offsets, are the older one's
    planes.members.remove(newer)
    planes.await_owners(planes.members)
    load.await_more(20)
    answers = load.end()
    assert set(answers.values()) <= {200, 503, None}, answers
    admitted, repeats = check_log(planes, answers)
    assert admitted >= load.count() and repeats == 0
    stored = [r for r in planes.records("control.resources") if r.key() == b"Pipeline/chain"]
    assert b'"format":2' in stored[-1].value(), "it was overwritten"
