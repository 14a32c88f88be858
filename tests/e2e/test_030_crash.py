"""kill -9 in a loop under load: every acknowledged record is there afterwards, in order, once."""

import os
import threading
import time

import confluent_kafka
import harness
import pytest

ROUNDS = int(os.environ.get("CRASH_ROUNDS", "8"))


class Load:
    """Idempotent producers that go on until stopped; remembers what was acknowledged, in order."""

    def __init__(self, address, topic, first, partitions=3):
        self.acknowledged = {p: [] for p in range(partitions)}
        self.next = first
        self.stopping = threading.Event()
        self.producer = confluent_kafka.Producer({
            "bootstrap.servers": address, "enable.idempotence": True, "linger.ms": 1, "message.timeout.ms": 5000,
            "socket.timeout.ms": 3000, "log_level": 0})
        self.topic, self.partitions = topic, partitions
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def delivered(self, error, message):
        if error is None:
            self.acknowledged[message.partition()].append((message.offset(), message.value()))

    def run(self):
        while not self.stopping.is_set():
            try:
                self.producer.produce(self.topic, str(self.next).encode(), partition=self.next % self.partitions,
                                      on_delivery=self.delivered)
                self.next += 1
            except BufferError:
                pass
            self.producer.poll(0.0005)

    def stop(self):
        self.stopping.set()
        self.thread.join()
        self.producer.purge()
        self.producer.flush(10)

    def count(self):
        return sum(map(len, self.acknowledged.values()))


def read_all(address, topic, partition):
    consumer = confluent_kafka.Consumer({"bootstrap.servers": address, "group.id": "check", "enable.auto.commit": False})
    low, high = consumer.get_watermark_offsets(confluent_kafka.TopicPartition(topic, partition), 30)
    consumer.assign([confluent_kafka.TopicPartition(topic, partition, low)])
    got, deadline = [], time.monotonic() + 60
    while len(got) < high - low:
        assert time.monotonic() < deadline, f"{len(got)} of {high - low} records came"
        for message in consumer.consume(1000, 0.5):
            assert message.error() is None, message.error()
            got.append((message.offset(), message.value()))
    consumer.close()
    return got


@pytest.mark.parametrize("partitions", [3])
def test_every_acknowledged_record_survives_kill_9(start, partitions):
    acknowledged = {p: [] for p in range(partitions)}
    first = 0
    for round_number in range(ROUNDS):
        server = start("--broker-only", "--broker.config.num.partitions", str(partitions))
        load = Load(server.kafka, "crash", first)
        harness.wait_for(lambda: load.count() > 300, 30, lambda: f"no load in round {round_number}: {server.errors()}")
        server.kill()
        load.stop()
        first = load.next
        for p in range(partitions):
            acknowledged[p] += load.acknowledged[p]
    server = start("--broker-only")
    for p in range(partitions):
        records = read_all(server.kafka, "crash", p)
        offsets = [offset for offset, _ in records]
        assert offsets == list(range(offsets[0], offsets[0] + len(offsets))), "offsets have gaps or repeat"
        values = [value for _, value in records]
        assert len(values) == len(set(values)), "a record is there twice"
        assert dict(acknowledged[p]).items() <= dict(records).items(), "an acknowledged record is lost or moved"
