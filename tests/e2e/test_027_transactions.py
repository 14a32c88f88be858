"""Transactions with librdkafka: commits, aborts, fencing, timeouts, and copying exactly once while everything is killed."""

import os
import pathlib
import signal
import subprocess
import sys
import time
import uuid

import confluent_kafka
import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic
from harness import Millrace, wait_for

FAST = ("--broker.config.transaction.abort.timed.out.transaction.cleanup.interval.ms", "100",
        "--broker.config.group.min.session.timeout.ms", "1000", "--broker.config.group.initial.rebalance.delay.ms", "0")


def fresh(name):
    return f"{name}-{uuid.uuid4().hex[:12]}"


def create(server, topic, partitions=1):
    admin = AdminClient({"bootstrap.servers": server.kafka})
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(30)
    return topic


def producer_of(server, transactional_id, **config):
    producer = confluent_kafka.Producer({"bootstrap.servers": server.kafka, "transactional.id": transactional_id, "linger.ms": 0,
                                         "reconnect.backoff.max.ms": 200, **config})
    producer.init_transactions(30)
    return producer


def write(producer, topic, *values, partition=0):
    for value in values:
        producer.produce(topic, value, partition=partition)
    assert producer.flush(30) == 0


def read(server, topic, isolation="read_committed", partition=0):
    """All there is to be read, up to the end that this isolation level has."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": server.kafka, "group.id": fresh("reader"), "isolation.level": isolation,
                                         "enable.auto.commit": False, "enable.partition.eof": True, "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(topic, partition, 0)])
    values, deadline = [], time.monotonic() + 30
    while time.monotonic() < deadline:
        message = consumer.poll(0.2)
        if message is None:
            continue
        if message.error():
            assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
            break
        values.append(message.value().decode())
    else:
        raise AssertionError("the end was never reached")
    consumer.close()
    return values


def test_readers_see_what_was_committed_and_nothing_else(start):
    server = start("--broker-only")
    topic = create(server, fresh("t"), 2)
    producer = producer_of(server, fresh("tx"))
    producer.begin_transaction()
    write(producer, topic, "a", "b")
    write(producer, topic, "other", partition=1)
    assert read(server, topic) == []
    producer.commit_transaction(30)
    producer.begin_transaction()
    write(producer, topic, "lost")
    producer.abort_transaction(30)
    producer.begin_transaction()
    write(producer, topic, "c")
    producer.commit_transaction(30)
    assert read(server, topic) == ["a", "b", "c"]
    assert read(server, topic, partition=1) == ["other"]
    assert read(server, topic, "read_uncommitted") == ["a", "b", "lost", "c"]


def test_a_second_producer_fences_the_first_and_ends_its_transaction(start):
    server = start("--broker-only")
    topic, name = create(server, fresh("t")), fresh("tx")
    old = producer_of(server, name)
    old.begin_transaction()
    write(old, topic, "zombie")
    new = producer_of(server, name)
    new.begin_transaction()
    write(new, topic, "new")
    new.commit_transaction(30)
    with pytest.raises(KafkaException) as fenced:
        old.commit_transaction(30)
    assert fenced.value.args[0].fatal() and fenced.value.args[0].code() == KafkaError._FENCED
    assert read(server, topic) == ["new"]


def test_a_transaction_that_nobody_ends_runs_out_of_time(start):
    server = start("--broker-only", *FAST)
    topic = create(server, fresh("t"))
    slow = producer_of(server, fresh("tx"), **{"transaction.timeout.ms": 1000})
    slow.begin_transaction()
    write(slow, topic, "too slow")
    other = producer_of(server, fresh("tx"))
    other.begin_transaction()
    write(other, topic, "other")
    other.commit_transaction(30)
    wait_for(lambda: read(server, topic) == ["other"], 30, "the transaction never ended")
    with pytest.raises(KafkaException):
        slow.commit_transaction(30)


def test_an_open_transaction_goes_on_after_a_crash_of_the_broker(tmp_path):
    server = Millrace(tmp_path / "data", "--broker-only")
    topic = create(server, fresh("t"))
    producer = producer_of(server, fresh("tx"))
    producer.begin_transaction()
    write(producer, topic, "before")
    server.kill()
    server = Millrace(tmp_path / "data", "--broker-only", kafka_listen=server.kafka)
    assert read(server, topic) == []
    write(producer, topic, "after")
    producer.commit_transaction(30)
    assert read(server, topic) == ["before", "after"]
    server.kill()
    server = Millrace(tmp_path / "data", "--broker-only", kafka_listen=server.kafka)
    assert read(server, topic) == ["before", "after"]
    assert server.stop() == 0, server.errors()


@pytest.mark.parametrize("codec, size, count", [("lz4", 1000, 300), ("lz4", 50000, 10), ("none", 3_000_000, 1), ("zstd", 5000, 1200)])
def test_a_batch_that_takes_a_worker_is_still_its_transactions(start, codec, size, count):
    """Such a request waits, and its frame is moved: its transactional id must still be the one that was sent."""
    server = start("--broker-only")
    topic = create(server, fresh("worker"))
    producer = confluent_kafka.Producer({"bootstrap.servers": server.kafka, "transactional.id": fresh("worker"), "linger.ms": 100,
                                         "compression.type": codec, "batch.size": 7_000_000, "message.max.bytes": 8_000_000})
    admin = AdminClient({"bootstrap.servers": server.kafka})
    resource = ConfigResource("topic", topic, set_config={"max.message.bytes": "8000000"})
    admin.alter_configs([resource])[resource].result(30)
    producer.init_transactions(30)
    producer.begin_transaction()
    values = [f"{i:05000}" if codec == "zstd" else os.urandom(size // 2).hex() for i in range(count)]
    for value in values:
        producer.produce(topic, value, partition=0)
    producer.commit_transaction(30)
    assert read(server, topic) == values


# Without that recovery strategy: after a re-bootstrap librdkafka 2.15 waits for ever for a group's coordinator that it has let go.
COPIER = """
import random, sys
import confluent_kafka as ck

address, source, sink, group, name = sys.argv[1:6]
consumer = ck.Consumer({"bootstrap.servers": address, "group.id": group, "isolation.level": "read_committed", "auto.offset.reset": "earliest",
                        "enable.auto.commit": False, "reconnect.backoff.max.ms": 200, "session.timeout.ms": 2000,
                        "heartbeat.interval.ms": 300})
producer = ck.Producer({"bootstrap.servers": address, "transactional.id": name, "linger.ms": 0, "reconnect.backoff.max.ms": 200,
                        "metadata.recovery.strategy": "none"})
producer.init_transactions(30)
consumer.subscribe([source])
while True:
    messages = [m for m in consumer.consume(20, 0.05) if not m.error()]
    if not messages:
        continue
    try:
        producer.begin_transaction()
        for m in messages:
            producer.produce(sink, m.value(), partition=m.partition())
        at = consumer.position(consumer.assignment())
        producer.send_offsets_to_transaction(at, consumer.consumer_group_metadata(), 30)
        if random.random() < 0.2:
            raise RuntimeError("on purpose")
        producer.commit_transaction(30)
    except (ck.KafkaException, RuntimeError) as e:
        print("again:", e, flush=True)
        if isinstance(e, ck.KafkaException) and not e.args[0].txn_requires_abort() and not e.args[0].retriable():
            sys.exit(1)
        producer.abort_transaction(30)
        for tp in consumer.committed(consumer.assignment(), 30):
            consumer.seek(ck.TopicPartition(tp.topic, tp.partition, max(tp.offset, 0)))
"""


class Copiers:
    """A process that copies one topic to another in transactions; started again whenever it ends."""

    def __init__(self, folder, *args):
        self.script = pathlib.Path(folder) / "copier.py"
        self.script.write_text(COPIER)
        self.args, self.child, self.log = args, None, open(pathlib.Path(folder) / "copier.log", "ab")

    def alive(self):
        if self.child is None or self.child.poll() is not None:
            self.child = subprocess.Popen([sys.executable, self.script, *self.args], stdout=self.log, stderr=self.log)

    def kill(self):
        if self.child is not None and self.child.poll() is None:
            os.kill(self.child.pid, signal.SIGKILL)
            self.child.wait(30)


def test_copying_exactly_once_while_copier_and_broker_are_killed(tmp_path):
    server = Millrace(tmp_path / "data", "--broker-only", *FAST)
    source, sink, count = create(server, fresh("in"), 2), create(server, fresh("out"), 2), 1200
    feed = confluent_kafka.Producer({"bootstrap.servers": server.kafka, "enable.idempotence": True, "reconnect.backoff.max.ms": 200})
    copier = Copiers(tmp_path, server.kafka, source, sink, fresh("g"), fresh("tx"))
    sent, deadline, kills, seen = 0, time.monotonic() + 90, 0, 0

    def output():
        return [int(v) for p in (0, 1) for v in read(server, sink, partition=p)]

    while time.monotonic() < deadline:
        for _ in range(min(200, count - sent)):
            feed.produce(source, str(sent), partition=sent % 2)
            sent += 1
        feed.flush(30)
        wait_for(lambda: copier.alive() or len(output()) > seen, 15, "nothing was copied")
        seen = len(output())
        if seen >= count:
            break
        if kills < 4:
            kills += 1
            if kills % 2:
                copier.kill()
            else:
                server.kill()
                server = Millrace(tmp_path / "data", "--broker-only", *FAST, kafka_listen=server.kafka)
    copier.kill()
    copied = output()
    assert sorted(copied) == list(range(count)), f"{len(copied)} of {count}, {len(set(copied))} different"
    assert kills == 4
    assert server.stop() == 0, server.errors()
