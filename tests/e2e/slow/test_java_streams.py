"""Kafka Streams 3.8.1 with exactly_once_v2: application and broker are killed, and every count is written exactly once."""

import collections
import pathlib
import subprocess
import uuid

import confluent_kafka
from confluent_kafka import KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from harness import KAFKA381, Millrace, wait_for

WORDS, ROUND, ROUNDS = ["a", "b", "c", "d", "e"], 200, 6
OPTIONS = ("--broker-only", "--broker.config.group.initial.rebalance.delay.ms", "0",
           "--broker.config.transaction.abort.timed.out.transaction.cleanup.interval.ms", "200")


def fresh(name):
    return f"{name}-{uuid.uuid4().hex[:10]}"


class Application:
    def __init__(self, folder, *args):
        self.folder, self.args, self.log = pathlib.Path(folder), args, open(pathlib.Path(folder) / "streams.log", "ab")
        self.child = None

    def start(self):
        self.child = subprocess.Popen(
            ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{KAFKA381}/libs/*",
             pathlib.Path(__file__).with_name("EosCount.java"), self.args[0], self.args[1], self.folder / "state", *self.args[2:]],
            stdout=self.log, stderr=self.log)

    def kill(self):
        self.child.kill()
        self.child.wait(30)


def counts(server, topic):
    """What a read_committed consumer sees: word -> the counts that were written, in order."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": server.kafka, "group.id": fresh("r"), "isolation.level": "read_committed",
                                         "enable.partition.eof": True, "enable.auto.commit": False})
    found = collections.defaultdict(list)
    for partition in (0, 1):
        consumer.assign([TopicPartition(topic, partition, 0)])
        while True:
            message = wait_for(lambda: consumer.poll(0.5), 30, "the end was never reached")
            if message.error():
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                break
            found[message.key().decode()].append(int(message.value()))
    consumer.close()
    return found


def test_every_count_is_written_once_though_all_are_killed(tmp_path):
    server = Millrace(tmp_path / "data", *OPTIONS)
    source, sink = fresh("words"), fresh("counts")
    admin = AdminClient({"bootstrap.servers": server.kafka})
    for made in admin.create_topics([NewTopic(source, 2, 1), NewTopic(sink, 2, 1)]).values():
        made.result(30)
    application = Application(tmp_path, server.kafka, fresh("app"), source, sink)
    application.start()
    feed = confluent_kafka.Producer({"bootstrap.servers": server.kafka, "enable.idempotence": True, "reconnect.backoff.max.ms": 200})
    for n in range(1, ROUNDS + 1):
        for i in range(ROUND):
            feed.produce(source, WORDS[i % len(WORDS)], partition=i % 2)
        assert feed.flush(30) == 0
        if n in (2, 4):                                  # in the middle of its work
            wait_for(lambda: sum(len(c) for c in counts(server, sink).values()) > (n - 1) * ROUND, 120, "the application stands still")
            application.kill()
            application.start()
        elif n in (3, 5):
            server.kill()
            server = Millrace(tmp_path / "data", *OPTIONS, kafka_listen=server.kafka)
    total = ROUNDS * ROUND

    def all_there():
        return sum(max(c) for c in counts(server, sink).values()) >= total

    wait_for(all_there, 180, "the counts never got there")
    found = counts(server, sink)
    application.kill()
    for word in WORDS:
        assert sorted(found[word]) == list(range(1, total // len(WORDS) + 1)), (word, len(found[word]))
    assert server.stop() == 0, server.errors()
