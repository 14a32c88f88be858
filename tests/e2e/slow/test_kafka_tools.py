"""Every command line tool of Apache Kafka 3.8.1 (and, with --full, of 4.1) against our broker and against a real 3.8.1: the same commands in
the same order, exit status and output compared. What differs between any two runs (ids, times, addresses) is taken out first, and of error
messages only the kind is compared, since the sentences are ours."""

import json
import os
import pathlib
import re
import subprocess
import time

import harness
import pytest
from tool_jvm import ToolJvm

KAFKA4 = pathlib.Path(os.environ.get("KAFKA4_DIR", harness.ROOT / "build/kafka4"))
VERSION = "3.8.1"  # of the tools; tests/e2e/full has these tests with 4.1
ALONE = {"verifiable-producer", "verifiable-consumer"}
OURS_AND_NOT_KAFKAS = {"group.version"}  # features of 4.x that we have and 3.8.1 has not


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """name -> address."""
    kafka = harness.Kafka381(tmp_path_factory.mktemp("tools") / "kafka", properties="default.replication.factor=1\n")
    ours = harness.Millrace(tmp_path_factory.mktemp("tools") / "data", "--broker-only", "--broker.config.group.initial.rebalance.delay.ms", "0",
                            "--broker.config.message.max.bytes", "104857600")     # as the harness sets it for Kafka: it shows as an override
    yield {"kafka": kafka.address, "ours": ours.kafka}
    assert ours.stop() == 0, ours.errors()
    kafka.stop()


@pytest.fixture(scope="module")
def jvm(request, tmp_path_factory):
    libs = pathlib.Path(harness.KAFKA381) / "libs"
    if request.module.VERSION != "3.8.1":
        subprocess.run([harness.ROOT / "tools/kafka4/setup.sh", KAFKA4], check=True, timeout=300)
        libs = KAFKA4 / "libs"
    jvm = ToolJvm(libs, tmp_path_factory.mktemp("runner"))
    yield jvm
    jvm.stop()


# ---- what is compared ----

TAKEN_OUT = [
    (r"TopicId: \S+", "TopicId: ID"),
    (r"127\.0\.0\.1[: ]+\d+", "ADDRESS"),
    (r"localhost:\d+", "ADDRESS"),
    (r"\b1[67]\d{11}\b", "TIME"),
    (r"/\S*/(kafka/logs|data)\b", "FOLDER"),
    (r"(Cluster ?I[dD]: +)\S+", r"\1ID"),
    (r"(HighWatermark: +)\d+", r"\1N"),
    (r"(MaxFollowerLagTimeMs: +)\d+", r"\1N"),
    (r"Epoch: \d+", "Epoch: N"),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.,:]\d+", "TIME"),
    (r"console-consumer-\d+", "console-consumer-N"),
    (r"(Configs: ).*", lambda m: m[1] + ",".join(re.findall(r"cleanup\.policy=compact,delete|retention\.ms=60000", m[0]))),   # the others are of the configuration file
    (r".*main ERROR Reconfiguration failed.*", ""),  # of log4j, once
]


def substance(text):
    for pattern, to in TAKEN_OUT:
        text = re.sub(pattern, to, text)
    lines = [re.sub(r"\s+", " ", line).strip() for line in text.splitlines()]
    return sorted(line for line in lines if line and "__consumer_offsets" not in line and "__transaction_state" not in line
                  and not any(name in line for name in OURS_AND_NOT_KAFKAS))


def kind_of_error(text):
    return sorted(set(re.findall(r"\b(\w+Exception)\b", text)) - {"ExecutionException", "CompletionException", "ToolRunner"})


class Both:
    """Runs a tool on both and notes what differs."""

    def __init__(self, jvm, servers):
        self.jvm, self.servers, self.wrong, self.said = jvm, servers, [], {}

    def run(self, tool, *args, compare="output", stdin="", at="--bootstrap-server", after=False):
        views = {
            "status": lambda r: r[0],
            "error": lambda r: (r[0], kind_of_error(r[1] + r[2])),
            "output": lambda r: (r[0], substance(r[1]), kind_of_error(r[2])),
        }
        view = views[compare] if isinstance(compare, str) else compare
        for again in range(10):
            ours, kafka = self.ask(tool, args, stdin, at, after)
            a, b = view(kafka), view(ours)
            if a == b or not {"--describe", "--list", "--dry-run", "describe", "list"} & set(args):
                break
            time.sleep(0.1 * again)  # Kafka tells of a change a little later
        if a != b:
            self.wrong.append(f"{tool} {' '.join(map(str, args))}\n  Kafka: {a}\n  ours:  {b}\n  {ours[2][:400]}")
        return ours[1]

    def ask(self, tool, args, stdin, at, after):
        for name, address in self.servers.items():
            here = [str(a).replace("{address}", address) for a in args]
            server = [at, address] if at else []
            run = self.jvm.alone if tool in ALONE else self.jvm.run
            self.said[name] = run(tool, *(here + server if after else server + here), **({} if tool in ALONE else {"stdin": stdin}))
        return self.said["ours"], self.said["kafka"]

    def end(self):
        assert not self.wrong, f"{len(self.wrong)} differences\n" + "\n".join(self.wrong)


@pytest.fixture
def both(jvm, servers):
    both = Both(jvm, servers)
    yield both
    both.end()


@pytest.fixture
def topic(jvm, request):
    return f"{request.node.originalname}-{jvm.major}".replace("_", "-")[5:60]


@pytest.fixture
def filled(both, topic):
    """Ten records in two partitions."""
    both.run("topics", "--create", "--topic", topic, "--partitions", 2)
    both.run("console-producer", "--topic", topic, "--property", "parse.key=true", "--property", "key.separator=:",
             stdin="".join(f"k{n}:v{n}\n" for n in range(10)), compare="status")  # Kafka's may be told at first that nobody leads a new partition
    return topic


# ---- topics and settings ----


def test_topics(both, topic):
    both.run("topics", "--create", "--topic", topic, "--partitions", 3, "--config", "retention.ms=60000", "--config", "cleanup.policy=compact,delete")
    assert "PartitionCount: 3" in both.run("topics", "--describe", "--topic", topic)
    both.run("topics", "--create", "--topic", topic, "--if-not-exists")
    both.run("topics", "--create", "--topic", topic, compare="error")
    both.run("topics", "--create", "--topic", "bad name!", compare="error")
    both.run("topics", "--create", "--topic", topic.replace("-", "."), "--partitions", 1)
    both.run("topics", "--create", "--topic", topic.replace("-", "_"), "--partitions", 1, compare="error")
    both.run("topics", "--create", "--topic", topic + "-p0", "--partitions", 0, compare="error")
    both.run("topics", "--create", "--topic", topic + "-cfg", "--config", "no.such=1", compare="error")
    both.run("topics", "--create", "--topic", topic + "-cfg", "--config", "retention.ms=x", compare="error")
    both.run("topics", "--create", "--topic", topic + "-man", "--replica-assignment", "1,1")
    both.run("topics", "--create", "--topic", topic + "-man2", "--replica-assignment", "1,7", compare="error")
    both.run("topics", "--describe", "--topic", topic + "-man")
    both.run("topics", "--alter", "--topic", topic, "--partitions", 5)
    both.run("topics", "--alter", "--topic", topic, "--partitions", 4, compare="error")
    both.run("topics", "--alter", "--topic", "no-such-topic", "--partitions", 4, compare="error")
    both.run("topics", "--describe", "--topic", topic)
    both.run("topics", "--describe", "--topic", "no-such-topic", compare="error")
    both.run("topics", "--describe", "--topics-with-overrides")
    for what in ("--under-replicated-partitions", "--unavailable-partitions", "--under-min-isr-partitions", "--at-min-isr-partitions"):
        both.run("topics", "--describe", "--topic", topic, what)
    assert topic in both.run("topics", "--list")
    both.run("topics", "--list", "--exclude-internal")
    both.run("topics", "--delete", "--topic", topic)
    both.run("topics", "--delete", "--topic", topic, compare="error")
    both.run("topics", "--delete", "--topic", topic, "--if-exists")
    assert topic not in both.run("topics", "--list").split()
    both.run("topics", "--delete", "--topic", f"{topic}-.*")
    both.run("topics", "--delete", "--topic", topic.replace("-", "."))


def names_of_settings(done):
    return done[0], sorted(set(re.findall(r"^\s+([a-z][\w.]+)=", done[1], re.M)))


def values_of_settings(done):
    """Without those whose defaults are ours on purpose (docs/kafka.md)."""
    own = {"max.message.bytes"}
    return done[0], sorted(x for x in re.findall(r"^\s+([a-z][\w.]+)=(\S*) ", done[1], re.M) if x[0] not in own)


def test_configs_of_topics(both, topic):
    entity = ["--entity-type", "topics", "--entity-name", topic]
    both.run("topics", "--create", "--topic", topic)
    both.run("configs", "--alter", *entity, "--add-config", "max.message.bytes=2000,cleanup.policy=[compact,delete],retention.ms=5")
    said = both.run("configs", "--describe", *entity, compare=values_of_settings)
    assert "cleanup.policy=compact,delete" in said and "max.message.bytes=2000" in said
    both.run("configs", "--describe", *entity, "--all", compare=values_of_settings)
    both.run("configs", "--alter", *entity, "--delete-config", "retention.ms,cleanup.policy")
    both.run("configs", "--describe", *entity, compare=values_of_settings)
    both.run("configs", "--alter", *entity, "--delete-config", "retention.ms", compare="error")
    both.run("configs", "--alter", *entity, "--add-config", "retention.ms=x", compare="error")
    both.run("configs", "--alter", *entity, "--add-config", "no.such=1", compare="error")
    both.run("configs", "--alter", *entity, "--add-config", "segment.bytes=1", compare="error")
    both.run("configs", "--describe", "--entity-type", "topics", "--entity-name", "no-such-topic", compare="status")
    both.run("configs", "--alter", "--entity-type", "topics", "--entity-name", "no-such-topic", "--add-config", "retention.ms=1", compare="error")


def test_configs_of_brokers(both):
    one, default = ["--entity-type", "brokers", "--entity-name", "1"], ["--entity-type", "brokers", "--entity-default"]
    both.run("configs", "--alter", *one, "--add-config", "log.cleaner.threads=2,log.retention.ms=100000000")
    both.run("configs", "--describe", *one, compare=values_of_settings)
    both.run("configs", "--alter", *default, "--add-config", "log.cleanup.policy=compact")
    both.run("configs", "--describe", *default, compare=values_of_settings)
    both.run("configs", "--alter", *one, "--delete-config", "log.cleaner.threads,log.retention.ms")
    both.run("configs", "--alter", *default, "--delete-config", "log.cleanup.policy")
    both.run("configs", "--describe", *one, compare=values_of_settings)
    both.run("configs", "--alter", *one, "--add-config", "num.partitions=3", compare="error")
    both.run("configs", "--alter", *one, "--add-config", "message.max.bytes=-1", compare="error")
    both.run("configs", "--alter", *one, "--add-config", "log.cleanup.policy=bad", compare="error")
    said = both.run("configs", "--describe", *one, "--all", compare="status")
    assert {"log.retention.ms", "message.max.bytes", "log.dirs", "auto.create.topics.enable"} <= set(names_of_settings((0, said))[1])


def test_quotas(both):
    rates = "producer_byte_rate=1000,consumer_byte_rate=2000,request_percentage=50.5"
    both.run("configs", "--alter", "--entity-type", "users", "--entity-name", "alice", "--add-config", rates)
    both.run("configs", "--alter", "--entity-type", "users", "--entity-name", "alice", "--entity-type", "clients", "--entity-name", "c1", "--add-config", "producer_byte_rate=7")
    both.run("configs", "--alter", "--entity-type", "users", "--entity-default", "--add-config", "controller_mutation_rate=5")
    both.run("configs", "--alter", "--entity-type", "clients", "--entity-name", "c2", "--add-config", "consumer_byte_rate=9")
    both.run("configs", "--alter", "--entity-type", "clients", "--entity-default", "--add-config", "consumer_byte_rate=99999999")
    both.run("configs", "--alter", "--entity-type", "ips", "--entity-name", "10.1.2.3", "--add-config", "connection_creation_rate=3")
    both.run("configs", "--alter", "--entity-type", "users", "--entity-name", "alice", "--add-config", "producer_byte_rate=0", compare="error")
    said = both.run("configs", "--describe", "--entity-type", "users", "--entity-name", "alice", compare="status")
    assert "producer_byte_rate=1000.0" in said and "request_percentage=50.5" in said
    for kind in ("users", "clients", "ips"):
        both.run("configs", "--describe", "--entity-type", kind, compare=lambda r: (r[0], sorted(re.findall(r"[\w_]+_rate=\S+?(?=,|\s|$)", r[1]))))
    both.run("configs", "--describe", "--entity-type", "users", "--entity-type", "clients", compare="status")
    both.run("configs", "--alter", "--entity-type", "users", "--entity-name", "alice", "--delete-config", "producer_byte_rate,consumer_byte_rate,request_percentage")
    both.run("configs", "--alter", "--entity-type", "users", "--entity-name", "alice", "--entity-type", "clients", "--entity-name", "c1", "--delete-config", "producer_byte_rate")
    both.run("configs", "--alter", "--entity-type", "users", "--entity-default", "--delete-config", "controller_mutation_rate")
    both.run("configs", "--alter", "--entity-type", "clients", "--entity-name", "c2", "--delete-config", "consumer_byte_rate")
    both.run("configs", "--alter", "--entity-type", "clients", "--entity-default", "--delete-config", "consumer_byte_rate")
    both.run("configs", "--alter", "--entity-type", "ips", "--entity-name", "10.1.2.3", "--delete-config", "connection_creation_rate")
    both.run("configs", "--describe", "--entity-type", "users")


def test_client_metrics(both):
    both.run("client-metrics", "--alter", "--name", "m1", "--metrics", "org.apache.kafka.producer.,org.apache.kafka.consumer.", "--interval", 1000,
             "--match", "client_id=app.*")
    both.run("client-metrics", "--describe", "--name", "m1")
    both.run("client-metrics", "--list")
    both.run("client-metrics", "--alter", "--name", "m1", "--interval", 1, compare="error")
    both.run("configs", "--describe", "--entity-type", "client-metrics", "--entity-name", "m1", compare="status")
    both.run("client-metrics", "--delete", "--name", "m1")
    both.run("client-metrics", "--list")


# ---- records ----


def test_console_producer_and_consumer(both, filled):
    said = both.run("console-consumer", "--topic", filled, "--from-beginning", "--max-messages", 10, "--timeout-ms", 20000, "--property", "print.key=true",
                    "--property", "print.partition=true", "--property", "print.offset=true", compare=lambda r: (r[0], sorted(re.findall(r"k\d\s+v\d", r[1]))))
    assert said.count("Partition:") == 10
    both.run("console-consumer", "--topic", filled, "--partition", 0, "--offset", "latest", "--timeout-ms", 500, compare="status")


def test_offsets_and_records(both, filled, tmp_path):
    both.run("get-offsets", "--topic", filled)
    for when in ("-1", "-2", "earliest", "latest", "0", "9999999999999"):
        both.run("get-offsets", "--topic", filled, "--time", when, compare=lambda r: (r[0], sum(int(x or 0) for x in re.findall(r":\d+:(\d*)$", r[1], re.M))))
    both.run("get-offsets", "--topic", filled, "--time", "max-timestamp", compare="status")
    both.run("get-offsets", "--topic-partitions", f"{filled}:0-2")
    both.run("get-offsets", "--topic", "no-such-topic", compare="error")
    path = tmp_path / "records.json"
    path.write_text(json.dumps({"partitions": [{"topic": filled, "partition": 0, "offset": 1}, {"topic": filled, "partition": 1, "offset": -1}]}))
    both.run("delete-records", "--offset-json-file", path, compare=lambda r: (r[0], len(re.findall("low_watermark", r[1]))))
    both.run("get-offsets", "--topic", filled, "--time", "earliest", compare="status")
    path.write_text(json.dumps({"partitions": [{"topic": filled, "partition": 0, "offset": 1000000}]}))
    both.run("delete-records", "--offset-json-file", path, compare="error")
    assert filled in both.run("log-dirs", "--describe", "--topic-list", filled, compare=lambda r: (r[0], sorted(re.findall(r'"partition":"[^"]+"', r[1]))))


def test_performance_and_verifiable_tools(both, topic):
    both.run("topics", "--create", "--topic", topic)
    said = both.run("producer-perf-test", "--topic", topic, "--num-records", 5000, "--record-size", 100, "--throughput", -1, "--producer-props",
                    "bootstrap.servers={address}", "acks=all", at=None, compare="status")
    assert "5000 records sent" in said
    said = both.run("consumer-perf-test", "--topic", topic, "--messages", 5000, "--timeout", 20000, compare="status")
    assert ", 5000, " in said
    said = both.run("verifiable-producer", "--topic", topic + "-v", "--max-messages", 50, compare="status")
    assert said.count("producer_send_success") == 50
    said = both.run("verifiable-consumer", "--topic", topic + "-v", "--group-id", "v-" + topic, "--max-messages", 50, "--reset-policy", "earliest", compare="status")
    assert '"totalCount":50' in said.replace(" ", "") or '"count":50' in said.replace(" ", ""), said[-500:]


def test_a_producer_above_its_quota_is_slowed_down(both, topic):
    both.run("topics", "--create", "--topic", topic)
    both.run("configs", "--alter", "--entity-type", "clients", "--entity-name", "slow", "--add-config", "producer_byte_rate=200000")
    said = both.run("producer-perf-test", "--topic", topic, "--num-records", 2200, "--record-size", 1000, "--throughput", -1, "--producer-props",
                    "bootstrap.servers={address}", "client.id=slow", "linger.ms=0", "batch.size=16384", at=None, compare="status")
    seconds = {name: 2.2e6 / 2**20 / float(re.findall(r"\(([\d.]+) MB/sec\)", r[1])[-1]) for name, r in both.said.items()}
    both.run("configs", "--alter", "--entity-type", "clients", "--entity-name", "slow", "--delete-config", "producer_byte_rate")
    assert "2200 records sent" in said
    assert seconds["ours"] > 0.5, seconds  # 2.2 MB, 2 MB of it at once
    assert 0.5 < seconds["ours"] / seconds["kafka"] < 2, seconds


# ---- groups ----


def rows_of_group(done):
    """GROUP TOPIC PARTITION CURRENT END LAG, without who has it."""
    return done[0], sorted(" ".join(line.split()[:6]) for line in done[1].splitlines() if len(line.split()) > 5 and line.split()[2].isdigit())


def rows_of_reset(done):
    return done[0], sorted(" ".join(line.split()) for line in done[1].splitlines() if line.split() and line.split()[-1].isdigit())


def test_consumer_groups(both, topic, tmp_path):
    both.run("topics", "--create", "--topic", topic, "--partitions", 1)
    both.run("console-producer", "--topic", topic, stdin="".join(f"{n}\n" for n in range(10)), compare="status")
    group = "g-" + topic
    both.run("console-consumer", "--topic", topic, "--group", group, "--from-beginning", "--max-messages", 10, "--timeout-ms", 20000)
    assert group in both.run("consumer-groups", "--list", compare=lambda r: (r[0], group in r[1]))
    for state in ("", "Empty", "Stable,Dead", "empty"):
        both.run("consumer-groups", "--list", "--state", *([state] if state else []), compare=lambda r: (r[0], [x.split() for x in r[1].splitlines() if group in x]))
    both.run("consumer-groups", "--list", "--type", compare=lambda r: (r[0], [x.split() for x in r[1].splitlines() if group in x]))
    said = both.run("consumer-groups", "--describe", "--group", group, compare=rows_of_group)
    assert rows_of_group((0, said))[1] == [f"{group} {topic} 0 10 10 0"]
    both.run("consumer-groups", "--describe", "--group", group, "--state", compare=lambda r: (r[0], substance(re.sub(r"127.0.0.1\S*", "", r[1]))))
    both.run("consumer-groups", "--describe", "--group", group, "--members")
    both.run("consumer-groups", "--describe", "--group", group, "--members", "--verbose")
    both.run("consumer-groups", "--describe", "--group", "no-such-group", compare="status")
    reset = ["consumer-groups", "--group", group, "--topic", topic, "--reset-offsets"]
    for how in (["--to-earliest"], ["--to-latest"], ["--to-offset", 4], ["--shift-by", 3], ["--shift-by", -5], ["--shift-by", 100], ["--to-offset", 99],
                ["--by-duration", "PT1H"], ["--by-duration", "PT0S"], ["--to-datetime", "2020-01-01T00:00:00.000"], ["--to-current"]):
        both.run(*reset, *how, "--dry-run", compare=rows_of_reset)
        both.run(*reset, *how, "--execute", compare=rows_of_reset)
        both.run("consumer-groups", "--describe", "--group", group, compare=rows_of_group)
    path = tmp_path / "offsets.csv"
    path.write_text(f"{topic},0,7\n")
    both.run("consumer-groups", "--group", group, "--reset-offsets", "--from-file", path, "--execute", compare=rows_of_reset)
    both.run(*reset, "--to-offset", 2, "--dry-run", "--export", compare=lambda r: (r[0], f'"{topic}",0,2' in r[1] or f"{topic},0,2" in r[1]))
    both.run("consumer-groups", "--group", group, "--topic", f"{topic}:0", "--reset-offsets", "--to-offset", 3, "--execute", compare=rows_of_reset)
    both.run("consumer-groups", "--describe", "--group", group, compare=rows_of_group)
    both.run("consumer-groups", "--describe", "--all-groups", compare=lambda r: (r[0], rows_of_group(r)[1].count(f"{group} {topic} 0 3 10 7")))
    both.run("consumer-groups", "--group", group, "--topic", topic, "--delete-offsets", compare=lambda r: (r[0], "Successful" in r[1]))
    both.run("consumer-groups", "--delete", "--group", group, compare="status")  # without offsets Kafka may have forgotten it
    assert group not in both.run("consumer-groups", "--list", compare=lambda r: (r[0], group in r[1]))


def test_streams_reset(both, filled):
    both.run("streams-application-reset", "--application-id", "app-" + filled, "--input-topics", filled, "--dry-run", compare="status")
    both.run("streams-application-reset", "--application-id", "app-" + filled, "--input-topics", filled, "--to-latest", compare="status")
    both.run("consumer-groups", "--describe", "--group", "app-" + filled, compare=rows_of_group)


# ---- the cluster ----


def test_partitions_and_leaders(both, filled, tmp_path):
    plan, topics, election = tmp_path / "plan.json", tmp_path / "topics.json", tmp_path / "election.json"
    topics.write_text(json.dumps({"version": 1, "topics": [{"topic": filled}]}))
    plan.write_text(json.dumps({"version": 1, "partitions": [{"topic": filled, "partition": 0, "replicas": [1]}]}))
    election.write_text(json.dumps({"partitions": [{"topic": filled, "partition": 0}]}))
    both.run("reassign-partitions", "--generate", "--topics-to-move-json-file", topics, "--broker-list", "1")
    both.run("reassign-partitions", "--execute", "--reassignment-json-file", plan)
    both.run("reassign-partitions", "--verify", "--reassignment-json-file", plan)
    both.run("reassign-partitions", "--cancel", "--reassignment-json-file", plan, compare="status")
    both.run("reassign-partitions", "--list")
    plan.write_text(json.dumps({"version": 1, "partitions": [{"topic": filled, "partition": 0, "replicas": [7]}]}))
    both.run("reassign-partitions", "--execute", "--reassignment-json-file", plan, compare="error")
    both.run("leader-election", "--election-type", "PREFERRED", "--topic", filled, "--partition", 0)
    both.run("leader-election", "--election-type", "UNCLEAN", "--path-to-json-file", election)
    both.run("leader-election", "--election-type", "PREFERRED", "--topic", "no-such-topic", "--partition", 0, compare="error")
    both.run("leader-election", "--election-type", "PREFERRED", "--all-topic-partitions", compare="status")


def apis(done):
    """name -> versions, without what we serve in the versions of Kafka 4, too."""
    rows = dict(re.findall(r"(\w+\(\d+\)): (\S+ to \S+|\S+) \[", done[1]))
    return done[0], {k: v for k, v in rows.items() if k.split("(")[0] not in ("ConsumerGroupHeartbeat", "ConsumerGroupDescribe", "ListClientMetricsResources")}


def test_the_cluster(both):
    both.run("cluster", "cluster-id", after=True)
    both.run("cluster", "unregister", "--id", 99, after=True, compare="error")
    if both.jvm.major >= 4:
        both.run("cluster", "list-endpoints", after=True)
        both.run("groups", "--list", compare="status")
    both.run("features", "describe")
    both.run("features", "upgrade", "--feature", "metadata.version=99", "--dry-run", compare="status")
    both.run("metadata-quorum", "describe", "--status")
    both.run("metadata-quorum", "describe", "--replication", compare=lambda r: (r[0], len(r[1].splitlines()), r[1].count("Leader")))
    said = both.run("broker-api-versions", compare=apis)
    assert "Produce(0): 0 to 11" in said
    both.run("transactions", "list", compare="status")
    both.run("acls", "--list", compare="status")
    both.run("delegation-tokens", "--describe", compare="status")
