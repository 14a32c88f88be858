"""Apache Kafka 3.8.1's own tools on our transactions: kafka-transactions, and kafka-dump-log on our files."""

import uuid

import confluent_kafka
import harness
import pytest
from harness import kafka_tool


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = harness.Millrace(tmp_path_factory.mktemp("java") / "data", "--broker-only")
    yield server
    assert server.stop() == 0, server.errors()


def fresh(name):
    return f"{name}-{uuid.uuid4().hex[:10]}"


def tool(server, *args, **more):
    return kafka_tool("kafka-transactions", "--bootstrap-server", server.kafka, *args, **more).stdout


def rows(text):
    return [line.split() for line in text.splitlines() if line.strip()]


def open_transaction(server, topic, name):
    producer = confluent_kafka.Producer({"bootstrap.servers": server.kafka, "transactional.id": name})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, "open", partition=0)
    assert producer.flush(30) == 0
    return producer


def ends(server, topic):
    consumer = confluent_kafka.Consumer({"bootstrap.servers": server.kafka, "group.id": fresh("g"), "isolation.level": "read_committed"})
    stable = consumer.get_watermark_offsets(confluent_kafka.TopicPartition(topic, 0), 30)[1]
    consumer.close()
    return stable


def test_transactions_are_listed_described_and_aborted(server):
    topic, name = fresh("t"), fresh("tx")
    producer = open_transaction(server, topic, name)
    listed = next(r for r in rows(tool(server, "list")) if r[0] == name)
    assert listed[1] == "1" and listed[3] == "Ongoing", listed
    described = rows(tool(server, "describe", "--transactional-id", name))[-1]
    assert described[0] == "1" and name in described and "Ongoing" in described and f"{topic}-0" in described, described
    active = rows(tool(server, "describe-producers", "--topic", topic, "--partition", "0"))[-1]
    assert active[0] == listed[2] and active[-1] == "0", active                      # its transaction began at offset 0
    assert rows(tool(server, "find-hanging", "--broker-id", "1"))[1:] == []
    assert ends(server, topic) == 0
    tool(server, "abort", "--topic", topic, "--partition", "0", "--start-offset", "0")
    assert ends(server, topic) == 2
    producer.abort_transaction(30)


def test_our_files_are_read_by_kafkas_own_tool(tmp_path):
    server = harness.Millrace(tmp_path / "data", "--broker-only")
    topic, name = fresh("t"), fresh("tx")
    producer = open_transaction(server, topic, name)
    producer.abort_transaction(30)
    producer.begin_transaction()
    producer.produce(topic, "kept", partition=0)
    producer.commit_transaction(30)
    assert server.stop() == 0, server.errors()

    def dump(path, *options):
        return kafka_tool("kafka-dump-log", "--files", path, *options).stdout

    log = dump(tmp_path / "data" / f"{topic}-0" / f"{0:020}.log", "--print-data-log")
    assert "endTxnMarker: ABORT" in log and "endTxnMarker: COMMIT" in log and "isTransactional: true" in log, log
    index = dump(tmp_path / "data" / f"{topic}-0" / f"{0:020}.txnindex")
    assert "firstOffset: 0 lastOffset: 1" in index, index
    snapshot = next((tmp_path / "data" / f"{topic}-0").glob("*.snapshot"))
    assert "producerEpoch: 0" in dump(snapshot)
    states = [dump(p, "--transaction-log-decoder") for p in sorted((tmp_path / "data").glob("__transaction_state-*/*.log"))]
    text = "".join(states)
    for state in ("Empty", "Ongoing", "PrepareAbort", "CompleteAbort", "PrepareCommit", "CompleteCommit"):
        assert f"state={state}" in text, text
