"""Clients from before Kafka 0.11, which know no record batches: Produce up to version 2, Fetch up to version 3."""

import re
import subprocess
import uuid

import confluent_kafka
import kafka
import pytest
from harness import Millrace, kafka_python_consumer, wait_for

# What librdkafka takes a broker of that release for, and the Fetch that it sends then.
RELEASES = [("0.8.2.2", 0), ("0.9.0.1", 1)]
CODECS = ["none", "gzip", "snappy", "lz4"]
MESSAGES = [(f"k{i}", f"value {i} " * 20) for i in range(100)]


def fresh(name="t"):
    return f"{name}-{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    server = Millrace(tmp_path_factory.mktemp("old") / "data", "--broker-only", "--broker.config.group.initial.rebalance.delay.ms", "0")
    yield server.kafka
    assert server.stop() == 0, server.errors()


def kcat(address, release, *args, stdin=None):
    done = subprocess.run(
        ["kcat", "-b", address, "-X", "api.version.request=false", "-X", f"broker.version.fallback={release}", *args],
        input=stdin, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done


def consume(address, release, topic, *args):
    """Keys, values and offsets of all there is, and the versions of Fetch that were used."""
    done = kcat(address, release, "-C", "-t", topic, "-o", "beginning", "-e", "-d", "protocol", "-f", "%o|%k|%s\n", *args)
    rows = [line.split("|") for line in done.stdout.splitlines()]
    return [(int(offset), key, value) for offset, key, value in rows], {int(v) for v in re.findall(r"Sent FetchRequest \(v(\d+)", done.stderr)}


def expected(rows=None):
    return [(n, key, value) for n, (key, value) in enumerate(rows or MESSAGES)]


def produce(address, topic, codec):
    producer = confluent_kafka.Producer({"bootstrap.servers": address, "compression.type": codec, "linger.ms": 5})
    for key, value in MESSAGES:
        producer.produce(topic, value, key, headers={"h": "x"})
    assert producer.flush(30) == 0


@pytest.mark.parametrize("release, version", RELEASES)
@pytest.mark.parametrize("codec", CODECS)
def test_an_old_client_reads_back_what_it_wrote(address, release, version, codec):
    topic = fresh()
    kcat(address, release, "-P", "-t", topic, "-K", "|", "-z", codec, stdin="".join(f"{k}|{v}\n" for k, v in MESSAGES))
    assert consume(address, release, topic) == (expected(), {version})


@pytest.mark.parametrize("codec", CODECS)
def test_old_consumers_read_what_a_new_producer_wrote(address, codec):
    topic = fresh()
    produce(address, topic, codec)
    for release, version in RELEASES:
        assert consume(address, release, topic) == (expected(), {version})
        assert consume(address, release, topic, "-X", "fetch.message.max.bytes=1000")[0] == expected()


def test_an_old_consumer_is_told_that_zstd_is_not_for_it(address):
    topic = fresh()
    produce(address, topic, "zstd")
    done = subprocess.run(["kcat", "-b", address, "-X", "api.version.request=false", "-X", "broker.version.fallback=0.9.0.1", "-C", "-t", topic, "-o", "beginning", "-e"],
                          capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "compression" in done.stderr.lower()
    assert done.stdout == ""


def test_a_group_of_old_consumers_goes_on_where_it_was(address):
    topic, group = fresh(), fresh("g")
    produce(address, topic, "gzip")
    first = kcat(address, "0.9.0.1", "-G", group, "-c", "40", "-X", "auto.offset.reset=earliest", "-f", "%o\n", topic)
    second = kcat(address, "0.9.0.1", "-G", group, "-c", "60", "-X", "auto.offset.reset=earliest", "-f", "%o\n", topic)
    assert [int(x) for x in first.stdout.split()] + [int(x) for x in second.stdout.split()] == list(range(100))


@pytest.mark.parametrize("release", [(0, 8, 2), (0, 9), (0, 10), (0, 10, 1)])
@pytest.mark.parametrize("codec", [None, "gzip"])
def test_kafka_python_as_it_spoke_to_old_brokers(address, release, codec):
    topic = fresh()
    producer = kafka.KafkaProducer(bootstrap_servers=address, api_version=release, compression_type=codec, linger_ms=5)
    for key, value in MESSAGES:
        producer.send(topic, value.encode(), key.encode())
    producer.flush(30)
    producer.close()
    consumer = kafka_python_consumer(topic, bootstrap_servers=address, api_version=release, auto_offset_reset="earliest", group_id=fresh("g") if release >= (0, 9) else None)
    got = []
    wait_for(lambda: got.extend(m for rows in consumer.poll(200).values() for m in rows) or len(got) >= len(MESSAGES), 30, lambda: f"{len(got)} messages came")
    consumer.close()
    assert [(m.offset, m.key.decode(), m.value.decode()) for m in got] == expected()
    assert all((m.timestamp is not None and m.timestamp > 0) == (release >= (0, 10)) for m in got)
