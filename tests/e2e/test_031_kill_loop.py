"""kill -9, again and again, under clients that live through it: segments roll, a topic is compacted, topics come and go, checkpoints
run. What was acknowledged is there, once, at the offset that was told. KILLS=N chooses how often (./dev ci: 200)."""

import os
import random
import threading
import time

import confluent_kafka
import confluent_kafka.admin
import harness
from test_030_crash import read_all

KILLS = int(os.environ.get("KILLS", os.environ.get("CRASH_ROUNDS", "25")))
OPTIONS = ["--broker-only", "--broker.config.log.cleaner.backoff.ms", "100", "--broker.config.log.segment.delete.delay.ms", "0"]
TOPICS = {"rolled": {"segment.bytes": "20000"},
          "compacted": {"segment.bytes": "20000", "cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01"}}


class Producing(threading.Thread):
    """One idempotent producer for all rounds; it finds the broker again by itself."""

    def __init__(self, address):
        super().__init__()
        self.acknowledged = {t: [] for t in TOPICS}
        self.failures, self.next, self.stopping = [], 0, threading.Event()
        self.producer = confluent_kafka.Producer({
            "bootstrap.servers": address, "enable.idempotence": True, "linger.ms": 1, "batch.size": 8000, "log_level": 0, "reconnect.backoff.ms": 5,
            "reconnect.backoff.max.ms": 20, "retry.backoff.ms": 10, "socket.timeout.ms": 5000, "message.timeout.ms": 60000})
        self.start()

    def delivered(self, error, message):
        if error is None:
            self.acknowledged[message.topic()].append((message.offset(), message.value()))
        else:
            self.failures.append(str(error))

    def run(self):
        while not self.stopping.is_set():
            for topic in TOPICS:
                value = str(self.next).encode() + b" " * (self.next % 400)
                self.producer.produce(topic, value, key=str(self.next % 20), partition=0, on_delivery=self.delivered)
            self.next += 1
            self.producer.poll(0.001)

    def count(self):
        return sum(map(len, self.acknowledged.values()))


class Coming(threading.Thread):
    """Creates topics and deletes them; what a name stands for when all is over must be what was last acknowledged."""

    def __init__(self, address):
        super().__init__()
        self.admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": address, "log_level": 0, "reconnect.backoff.ms": 5,
                                                        "reconnect.backoff.max.ms": 20})
        self.sure, self.stopping = {}, threading.Event()
        self.start()

    def change(self, name, exists):
        self.sure.pop(name, None)
        ask = self.admin.delete_topics([name], request_timeout=2) if exists else \
            self.admin.create_topics([confluent_kafka.admin.NewTopic(name, 2, 1)], request_timeout=2)
        try:
            ask[name].result(5)
            self.sure[name] = not exists
        except confluent_kafka.KafkaException as e:
            if e.args[0].code() == confluent_kafka.KafkaError.TOPIC_ALREADY_EXISTS:
                self.sure[name] = True
            if e.args[0].code() == confluent_kafka.KafkaError.UNKNOWN_TOPIC_OR_PART:
                self.sure[name] = False

    def run(self):
        for i in range(1 << 30):
            if self.stopping.is_set():
                return
            name = f"coming-{i % 3}"
            self.change(name, self.sure.get(name, i % 2 == 1))


def check(server, producing, coming):
    for topic in TOPICS:
        told = dict(producing.acknowledged[topic])
        assert len(told) == len(producing.acknowledged[topic]), "an offset was told twice"
        records = dict(read_compacted(server.kafka, topic) if topic == "compacted" else read_all(server.kafka, topic, 0))
        if topic == "compacted":
            assert all(told[o] == v for o, v in records.items() if o in told), "a record has moved"
            last = {int(v) % 20: o for o, v in told.items()}
            assert all(any(o2 >= o and int(v2) % 20 == k for o2, v2 in records.items()) for k, o in last.items()), "the last of a key is lost"
        else:
            assert told.items() <= records.items(), "an acknowledged record is lost or moved"
            assert len(set(records.values())) == len(records), "a record is there twice"
    there = set(coming.admin.list_topics(timeout=30).topics)
    assert {n: n in there for n in coming.sure} == coming.sure


def read_compacted(address, topic):
    """Offsets have gaps, so the end is where the consumer says it is."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": address, "group.id": "check", "enable.partition.eof": True, "enable.auto.commit": False})
    consumer.assign([confluent_kafka.TopicPartition(topic, 0, 0)])
    got, deadline = [], time.monotonic() + 60
    while time.monotonic() < deadline:
        message = consumer.poll(1)
        if message is None:
            continue
        if message.error():
            assert message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF, message.error()
            consumer.close()
            return got
        got.append((message.offset(), message.value()))
    raise AssertionError("the end never came")


def test_clients_live_through_many_kills(start):
    server, rng = start(*OPTIONS), random.Random(31)
    address = server.kafka
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": address})
    for made in admin.create_topics([confluent_kafka.admin.NewTopic(t, 1, 1, config=c) for t, c in TOPICS.items()]).values():
        made.result(30)
    producing, coming = Producing(address), Coming(address)
    try:
        for _ in range(KILLS):
            before = producing.count()
            harness.wait_for(lambda: producing.count() > before + rng.randrange(20, 200), 60, lambda: f"nothing is acknowledged: {server.errors()}")
            server.kill()
            server = start(*OPTIONS, kafka_listen=address)
    finally:
        coming.stopping.set()
        producing.stopping.set()
        coming.join()
        producing.join()
    assert producing.producer.flush(60) == 0
    assert not producing.failures, producing.failures[:3]
    check(server, producing, coming)
