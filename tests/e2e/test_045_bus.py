"""The contract of every bus, for librdkafka on a real Apache Kafka 3.8.1 (its unit test runs it on our own broker)."""

import os
import socket
import subprocess
import time

import harness

REAL_KAFKA_ONLY = True  # for our own broker the unit test does the same
CONTRACT = os.environ.get("BUS_REMOTE_BIN", str(harness.ROOT / "build/release/tests/unit/bus/unit-bus-remote"))


def test_the_remote_bus_keeps_the_contract(bus_kind, kafka_cluster):
    done = subprocess.run([CONTRACT, kafka_cluster.address], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]


def test_a_start_that_waits_for_kafka_says_so_and_ends_at_once_when_told(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never answers
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        log = tmp_path / "log"
        with open(log, "wb") as err:
            child = subprocess.Popen(
                [harness.MILLRACE, "serve", "--no-broker", "--bootstrap", address, "--infer-listen", "127.0.0.1:0"],
                stdout=subprocess.PIPE, stderr=err, text=True,
            )
        try:
            harness.wait_for(lambda: "Broker not available" in log.read_text(), 10, "nothing is said")
            begun = time.monotonic()
            child.terminate()
            assert child.wait(20) == 0, log.read_text()
            assert time.monotonic() - begun < 3
        finally:
            child.kill()
            child.wait()
        assert child.stdout.read() == ""  # it never said it was ready
        assert "kafka.bootstrap" in log.read_text()
