"""Many data planes on one Kafka: any of them answers; who owns a partition number recovers what the others leave. On a millrace
broker of its own process, and on a real Apache Kafka 3.8.1."""

import os
import signal
import time

import confluent_kafka
import harness
import pytest
import requests
import resources
from harness import wait_for
from replicas import Fleet, Load, check_log, header, identity, outcomes_of


@pytest.fixture
def address(start, bus_kind, kafka_cluster):
    return kafka_cluster.address if kafka_cluster else start("--broker-only", "--broker.config.group.initial.rebalance.delay.ms", "0", data="broker").kafka


@pytest.fixture
def fleet(start, address, request):
    def make(n, *options):
        made = Fleet(start, address, "t" + str(abs(hash(request.node.nodeid)) % 10**9), *options)
        for _ in range(n):
            made.add()
        return made

    return make


@pytest.mark.parametrize("partitions", ["1", "6"])
def test_replicas_come_and_go_under_load_and_nobody_is_dropped_hung_or_answered_twice(fleet, toy, tmp_path, partitions):
    planes = fleet(2, "--kafka.topics.numPartitions", partitions)
    planes.apply(tmp_path, toy, resources.CHAIN)
    load = Load(planes)
    load.await_more(50)
    third = planes.add()
    planes.await_ready(third, "chain")
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
