"""`millrace log verify`: a folder is checked, damaged, checked again, repaired, and served; a dump shows what is in it.
Compaction as a client sees it."""

import json
import time

import confluent_kafka
import confluent_kafka.admin
import harness


def produce(server, topic, pairs):
    producer = confluent_kafka.Producer({"bootstrap.servers": server.kafka, "linger.ms": 0, "batch.num.messages": 10})
    for key, value in pairs:
        producer.produce(topic, value, key)
    assert producer.flush(30) == 0


def read_all(server, topic):
    consumer = confluent_kafka.Consumer({"bootstrap.servers": server.kafka, "group.id": "check", "enable.auto.commit": False,
                                         "auto.offset.reset": "earliest", "enable.partition.eof": True})
    consumer.assign([confluent_kafka.TopicPartition(topic, 0, confluent_kafka.OFFSET_BEGINNING)])
    got, deadline = [], time.monotonic() + 30
    while time.monotonic() < deadline:
        message = consumer.poll(1)
        if message is None:
            continue
        if message.error():
            assert message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF, message.error()
            break
        got.append((message.offset(), message.key(), message.value()))
    consumer.close()
    return got


def test_a_folder_is_checked_repaired_and_served(start):
    server = start("--broker-only")
    for i in range(30):
        produce(server, "verified", [(f"k{i}", f"value {i}")])
    verify = ("log", "verify", "--data", server.data)
    assert server.cli(*verify, check=False).returncode == 3           # in use
    assert server.stop() == 0
    assert "1 logs" in server.cli(*verify).stdout
    lines = [json.loads(x) for x in server.cli(*verify, "--dump", "verified-0").stdout.splitlines()]
    assert [x["record"]["value"] for x in lines if "record" in x] == [f"value {i}" for i in range(30)]
    assert all(x["batch"]["crcValid"] for x in lines if "batch" in x)

    segment = server.data / "verified-0" / "00000000000000000000.log"
    body = bytearray(segment.read_bytes())
    body[body.index(b"value 7")] ^= 1
    segment.write_bytes(body)
    done = server.cli(*verify, "-o", "json", check=False)
    assert done.returncode == 4
    finding = json.loads(done.stdout)["findings"][0]
    assert finding["weight"] == "damage" and "offsets 7 to 7" in finding["text"] and not finding["repaired"]
    assert server.cli(*verify, "--repair").returncode == 0
    assert server.cli(*verify).returncode == 0
    assert list((server.data / "damaged").iterdir())

    again = start("--broker-only")
    assert [offset for offset, _, _ in read_all(again, "verified")] == [i for i in range(30) if i != 7]
    produce(again, "verified", [("k", "after")])
    assert read_all(again, "verified")[-1] == (30, b"k", b"after")


def committed(server, group):
    consumer = confluent_kafka.Consumer({"bootstrap.servers": server.kafka, "group.id": group, "enable.auto.commit": False})
    try:
        return consumer.committed([confluent_kafka.TopicPartition("kept", 0)], timeout=1)[0].offset
    except confluent_kafka.KafkaException as e:
        return e.args[0].name()
    finally:
        consumer.close()


def commit(server, group, *offsets):
    consumer = confluent_kafka.Consumer({"bootstrap.servers": server.kafka, "group.id": group, "enable.auto.commit": False})
    for offset in offsets:
        consumer.commit(offsets=[confluent_kafka.TopicPartition("kept", 0, offset)], asynchronous=False)
    consumer.close()


def test_damaged_offsets_are_said_repaired_and_served(start):
    """As docs/durability.md tells an operator: start, see what is said, stop, repair, start."""
    server = start("--broker-only", "--broker.config.offsets.topic.num.partitions", "2")
    produce(server, "kept", [(f"k{i}", "v") for i in range(9)])
    groups = ("a", "b", "c", "d")
    for group in groups:
        commit(server, group, 3, 7)
    assert server.stop() == 0
    segment = server.data / "__consumer_offsets-0" / "00000000000000000000.log"
    body = bytearray(segment.read_bytes())
    verify = ("log", "verify", "--data", server.data)
    batches = [x["batch"] for x in map(json.loads, server.cli(*verify, "--dump", "__consumer_offsets-0").stdout.splitlines()) if "batch" in x]
    body[batches[-1]["position"] + 65] ^= 1                 # inside the last commit of a group that is recorded there
    segment.write_bytes(body)

    damaged = start("--broker-only")
    told = {group: committed(damaged, group) for group in groups}
    lost = [group for group in groups if told[group] != 7]
    assert lost and len(lost) < len(groups) and all(told[g] in ("_TIMED_OUT", "COORDINATOR_NOT_AVAILABLE") for g in lost), told
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": damaged.kafka})
    listed = admin.list_consumer_groups(request_timeout=30).result(30)
    assert {g.group_id for g in listed.valid} == set(groups) - set(lost)
    assert [e.name() for e in listed.errors] == ["KAFKA_STORAGE_ERROR"]
    assert "groups.partition_lost" in damaged.errors()
    assert damaged.stop() == 0

    assert server.cli(*verify, check=False).returncode == 4
    assert server.cli(*verify, "--repair").returncode == 0
    assert server.cli(*verify).returncode == 0
    again = start("--broker-only")
    told = {group: committed(again, group) for group in groups}
    assert all(told[g] == 7 for g in groups if g not in lost) and sorted(told[g] for g in lost) == [3] + [7] * (len(lost) - 1), told
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": again.kafka})
    listed = admin.list_consumer_groups(request_timeout=30).result(30)
    assert {g.group_id for g in listed.valid} == set(groups) and not listed.errors
    commit(again, lost[0], 8)
    assert committed(again, lost[0]) == 8


def test_a_compacted_topic_keeps_the_last_value_of_each_key(start):
    server = start("--broker-only", "--broker.config.log.cleaner.backoff.ms", "100")
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": server.kafka})
    admin.create_topics([confluent_kafka.admin.NewTopic("keyed", 1, config={
        "cleanup.policy": "compact", "segment.bytes": "2000", "min.cleanable.dirty.ratio": "0.01",
        "delete.retention.ms": "0"})])["keyed"].result(30)
    for i in range(200):
        produce(server, "keyed", [(f"k{i % 7}", f"value {i}")])

    def is_compacted():
        got = read_all(server, "keyed")
        assert {k: v for _, k, v in got} == {f"k{i % 7}".encode(): f"value {i}".encode() for i in range(193, 200)}
        assert [o for o, _, _ in got] == sorted(o for o, _, _ in got)
        return len(got) < 60

    harness.wait_for(is_compacted, 60, "the topic is not compacted")


def test_a_topics_codec_holds_for_batches_of_every_size(start):
    server = start("--broker-only")
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": server.kafka})
    codecs = ("gzip", "snappy", "lz4", "zstd", "uncompressed")
    admin_topics = [confluent_kafka.admin.NewTopic(c, 1, config={"compression.type": c, "compression.gzip.level": "9",
                                                                 "compression.lz4.level": "12", "compression.zstd.level": "-5"})
                    for c in codecs]
    for future in admin.create_topics(admin_topics).values():
        future.result(30)
    values = [bytes(str(n), "ascii") * (n // 6) for n in (30, 3000, 300000, 60)]
    for codec in codecs:
        for sent in ("none", "lz4"):
            producer = confluent_kafka.Producer({"bootstrap.servers": server.kafka, "compression.type": sent,
                                                 "message.max.bytes": 10000000, "enable.idempotence": True})
            for value in values:
                producer.produce(codec, value)
                assert producer.flush(30) == 0
        assert [v for _, _, v in read_all(server, codec)] == values * 2
    assert server.stop() == 0
    for codec in codecs:
        lines = [json.loads(x) for x in server.cli("log", "verify", "--data", server.data, "--dump", f"{codec}-0").stdout.splitlines()]
        got = [x["batch"]["codec"] for x in lines if "batch" in x]
        assert len(got) == 8 and got[1] == got[2] == got[6] == ("none" if codec == "uncompressed" else codec), got
