"""The contract of every bus, for librdkafka on a real Apache Kafka 3.8.1 (its unit test runs it on our own broker)."""

import os
import subprocess

import harness
import pytest

CONTRACT = os.environ.get("BUS_REMOTE_BIN", str(harness.ROOT / "build/release/tests/unit/bus/unit-bus-remote"))


def test_the_remote_bus_keeps_the_contract(bus_kind, kafka_cluster):
    if kafka_cluster is None:
        pytest.skip("the unit test does that")
    done = subprocess.run([CONTRACT, kafka_cluster.address], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
