"""What each request needs: asked by somebody who may do everything, and again without one right at a time (docs/security.md)."""

import time

import confluent_kafka
import confluent_kafka.admin as ck
import pytest
import security
import wire
from security import add_user, listener, sasl_conf

TOPIC, GROUP, CLUSTER, TXN = 2, 3, 4, 5
ALL, READ, WRITE, CREATE, DELETE, ALTER, DESCRIBE, CLUSTER_ACTION, DESCRIBE_CONFIGS, ALTER_CONFIGS, IDEMPOTENT_WRITE = range(2, 13)
CODE = {TOPIC: 29, GROUP: 30, CLUSTER: 31, TXN: 53}
NAMES = {TOPIC: "t", GROUP: "g", CLUSTER: "kafka-cluster", TXN: "x"}
DENY, ALLOW = 2, 3

PART = [{"name": "t", "partitions": [{"partition_index": 0}]}]
COMMIT = [{"name": "t", "partitions": [{"partition_index": 0, "committed_offset": 0}]}]
BATCH = bytes.fromhex("000000000000000000000031ffffffff02000000000000000000000000000000000000000000000000ffffffffffffffffffffffffffff00000000").hex()

# api, version, fields, the rights it needs: (resource type, operation); of several in a set any one is enough.
REQUESTS = [
    ("produce", 9, {"acks": 1, "timeout_ms": 1000, "topics": [{"name": "t", "partitions": [{"index": 0, "records": BATCH}]}]}, [(TOPIC, WRITE)]),
    ("produce", 9, {"transactional_id": "x", "acks": -1, "timeout_ms": 1000, "topics": [{"name": "t", "partitions": [{"index": 0, "records": BATCH}]}]},
     [(TXN, WRITE)]),
    ("fetch", 11, {"replica_id": -1, "max_wait_ms": 0, "max_bytes": 1000, "topics": [{"topic": "t", "partitions": [{"partition": 0, "partition_max_bytes": 1000}]}]},
     [(TOPIC, READ)]),
    ("list_offsets", 5, {"replica_id": -1, "topics": [{"name": "t", "partitions": [{"partition_index": 0, "timestamp": -1}]}]}, [(TOPIC, DESCRIBE)]),
    ("metadata", 12, {"topics": [{"name": "t"}]}, [(TOPIC, DESCRIBE)]),
    ("metadata", 12, {"topics": [{"name": "t-made"}], "allow_auto_topic_creation": True}, [{(CLUSTER, CREATE), (TOPIC, CREATE)}]),
    ("describe_topic_partitions", 0, {"topics": [{"name": "t"}], "response_partition_limit": 10}, [(TOPIC, DESCRIBE)]),
    ("offset_for_leader_epoch", 3, {"replica_id": -1, "topics": [{"topic": "t", "partitions": [{"partition": 0, "current_leader_epoch": -1}]}]}, [(TOPIC, DESCRIBE)]),
    ("create_topics", 7, {"topics": [{"name": "t", "num_partitions": 1, "replication_factor": 1}], "validate_only": True}, [{(CLUSTER, CREATE), (TOPIC, CREATE)}]),
    ("delete_topics", 5, {"topic_names": ["t-not-there"]}, [(TOPIC, DELETE)]),
    ("delete_records", 2, {"topics": [{"name": "t", "partitions": [{"partition_index": 0, "offset": 0}]}]}, [(TOPIC, DELETE)]),
    ("create_partitions", 3, {"topics": [{"name": "t", "count": 2, "assignments": None}], "validate_only": True}, [(TOPIC, ALTER)]),
    ("describe_configs", 4, {"resources": [{"resource_type": 2, "resource_name": "t"}]}, [(TOPIC, DESCRIBE_CONFIGS)]),
    ("describe_configs", 4, {"resources": [{"resource_type": 4, "resource_name": "1"}]}, [(CLUSTER, DESCRIBE_CONFIGS)]),
    ("alter_configs", 2, {"resources": [{"resource_type": 2, "resource_name": "t"}]}, [(TOPIC, ALTER_CONFIGS)]),
    ("incremental_alter_configs", 1, {"resources": [{"resource_type": 2, "resource_name": "t"}]}, [(TOPIC, ALTER_CONFIGS)]),
    ("incremental_alter_configs", 1, {"resources": [{"resource_type": 4, "resource_name": ""}]}, [(CLUSTER, ALTER_CONFIGS)]),
    ("find_coordinator", 4, {"key_type": 0, "coordinator_keys": ["g"]}, [(GROUP, DESCRIBE)]),
    ("find_coordinator", 4, {"key_type": 1, "coordinator_keys": ["x"]}, [(TXN, DESCRIBE)]),
    ("join_group", 5, {"group_id": "g", "session_timeout_ms": 10000, "rebalance_timeout_ms": 1000, "protocol_type": "consumer",
                       "protocols": [{"name": "range", "metadata": ""}]}, [(GROUP, READ)]),
    ("sync_group", 3, {"group_id": "g", "generation_id": 1, "member_id": "m"}, [(GROUP, READ)]),
    ("heartbeat", 3, {"group_id": "g", "generation_id": 1, "member_id": "m"}, [(GROUP, READ)]),
    ("leave_group", 4, {"group_id": "g", "members": [{"member_id": "m"}]}, [(GROUP, READ)]),
    ("consumer_group_heartbeat", 0, {"group_id": "g2", "member_epoch": 5, "member_id": "m"}, [(GROUP, READ)]),
    ("consumer_group_heartbeat", 0, {"group_id": "g2", "member_epoch": 5, "member_id": "m", "subscribed_topic_names": ["t"]}, [(GROUP, READ), (TOPIC, DESCRIBE)]),
    ("describe_groups", 5, {"groups": ["g"]}, [(GROUP, DESCRIBE)]),
    ("consumer_group_describe", 0, {"group_ids": ["g"]}, [(GROUP, DESCRIBE)]),
    ("delete_groups", 2, {"groups_names": ["g"]}, [(GROUP, DELETE)]),
    ("offset_commit", 8, {"group_id": "g", "generation_id_or_member_epoch": -1, "topics": COMMIT}, [(GROUP, READ), (TOPIC, READ)]),
    ("offset_fetch", 8, {"groups": [{"group_id": "g", "topics": [{"name": "t", "partition_indexes": [0]}]}]}, [(GROUP, DESCRIBE), (TOPIC, DESCRIBE)]),
    ("offset_delete", 0, {"group_id": "g", "topics": PART}, [(GROUP, DELETE), (TOPIC, READ)]),
    ("init_producer_id", 4, {"transactional_id": None, "transaction_timeout_ms": 1000}, [{(CLUSTER, IDEMPOTENT_WRITE), (TOPIC, WRITE)}]),
    ("init_producer_id", 4, {"transactional_id": "x", "transaction_timeout_ms": 1000}, [(TXN, WRITE)]),
    ("add_partitions_to_txn", 3, {"v3_and_below_transactional_id": "x", "v3_and_below_producer_id": 1, "v3_and_below_producer_epoch": 0,
                                  "v3_and_below_topics": [{"name": "t", "partitions": [0]}]}, [(TXN, WRITE), (TOPIC, WRITE)]),
    ("add_partitions_to_txn", 4, {"transactions": [{"transactional_id": "x", "producer_id": 1, "topics": [{"name": "t", "partitions": [0]}]}]}, [(CLUSTER, CLUSTER_ACTION)]),
    ("add_offsets_to_txn", 3, {"transactional_id": "x", "producer_id": 1, "group_id": "g"}, [(TXN, WRITE), (GROUP, READ)]),
    ("end_txn", 3, {"transactional_id": "x", "producer_id": 1, "committed": True}, [(TXN, WRITE)]),
    ("txn_offset_commit", 3, {"transactional_id": "x", "group_id": "g", "producer_id": 1, "generation_id": -1, "topics": COMMIT},
     [(TXN, WRITE), (GROUP, READ), (TOPIC, READ)]),
    ("write_txn_markers", 1, {"markers": [{"producer_id": 1, "producer_epoch": 0, "topics": [{"name": "t", "partition_indexes": [0]}]}]},
     [{(CLUSTER, CLUSTER_ACTION), (CLUSTER, ALTER)}]),
    ("describe_producers", 0, {"topics": [{"name": "t", "partition_indexes": [0]}]}, [(TOPIC, READ)]),
    ("describe_transactions", 0, {"transactional_ids": ["x"]}, [(TXN, DESCRIBE)]),
    ("describe_log_dirs", 4, {"topics": None}, [(CLUSTER, DESCRIBE)]),
    ("alter_replica_log_dirs", 2, {"dirs": [{"path": "/none", "topics": [{"name": "t", "partitions": [0]}]}]}, [(CLUSTER, ALTER)]),
    ("elect_leaders", 2, {"election_type": 0, "topic_partitions": None}, [(CLUSTER, ALTER)]),
    ("alter_partition_reassignments", 0, {"topics": []}, [(CLUSTER, ALTER)]),
    ("list_partition_reassignments", 0, {"topics": None}, [(CLUSTER, DESCRIBE)]),
    ("describe_client_quotas", 1, {"components": []}, [(CLUSTER, DESCRIBE_CONFIGS)]),
    ("alter_client_quotas", 1, {"entries": [{"entity": [{"entity_type": "user", "entity_name": "u"}], "ops": []}]}, [(CLUSTER, ALTER_CONFIGS)]),
    ("describe_user_scram_credentials", 0, {"users": None}, [(CLUSTER, DESCRIBE)]),
    ("alter_user_scram_credentials", 0, {"deletions": [{"name": "nobody", "mechanism": 1}]}, [(CLUSTER, ALTER)]),
    ("describe_acls", 3, {"resource_type_filter": 1, "pattern_type_filter": 1, "operation": 1, "permission_type": 1}, [(CLUSTER, DESCRIBE)]),
    ("create_acls", 3, {"creations": [{"resource_type": 2, "resource_name": "none", "principal": "User:u", "host": "*", "operation": 3, "permission_type": 3}]}, [(CLUSTER, ALTER)]),
    ("delete_acls", 3, {"filters": [{"resource_type_filter": 2, "resource_name_filter": "none", "pattern_type_filter": 3, "operation": 1, "permission_type": 1}]}, [(CLUSTER, ALTER)]),
    ("describe_quorum", 1, {"topics": []}, [(CLUSTER, DESCRIBE)]),
    ("update_features", 1, {"feature_updates": []}, [(CLUSTER, ALTER)]),
    ("unregister_broker", 0, {"broker_id": 9}, [(CLUSTER, ALTER)]),
    ("list_client_metrics_resources", 0, {}, [(CLUSTER, DESCRIBE_CONFIGS)]),
]
# Served to everybody, or listing only what may be seen.
WITHOUT = {"api_versions", "sasl_handshake", "sasl_authenticate", "list_groups", "list_transactions", "describe_cluster", "get_telemetry_subscriptions",
           "push_telemetry", "create_delegation_token", "renew_delegation_token", "expire_delegation_token", "describe_delegation_token"}


def codes(x):
    """Every error code of an answer."""
    if isinstance(x, list):
        return [c for one in x for c in codes(one)]
    if not isinstance(x, dict):
        return []
    return [v for k, v in x.items() if k.endswith("error_code")] + [c for v in x.values() for c in codes(v)]


def login(address, user, password, client_id="wire"):
    conn = wire.Conn(address, client_id)
    assert conn.ask("sasl_handshake", 1, mechanism="PLAIN")["error_code"] == 0
    answer = conn.ask("sasl_authenticate", 2, auth_bytes=f"\0{user}\0{password}".encode().hex())
    assert answer["error_code"] == 0, answer
    return conn


def acl(kind, name, operation, permission, principal="User:alice"):
    return {"resource_type": kind, "resource_name": name, "resource_pattern_type": 3, "principal": principal, "host": "*", "operation": operation,
            "permission_type": permission}


def acl_filter(kind, operation, permission, principal="User:alice"):
    return {"resource_type_filter": kind, "resource_name_filter": None, "pattern_type_filter": 1, "principal_filter": principal, "host_filter": None,
            "operation": operation, "permission_type": permission}


class Guarded:
    """A broker with an authorizer: admin may do everything, alice what she is given."""

    def __init__(self, server):
        self.server, self.address = server, server.ready["sasl"]
        add_user(server.kafka, "admin", "admin-secret")
        add_user(server.kafka, "alice", "alice-secret")
        self.admin, self.alice = login(self.address, "admin", "admin-secret"), login(self.address, "alice", "alice-secret")

    def give(self, *entries):
        answer = self.admin.ask("create_acls", 3, creations=list(entries))
        assert set(codes(answer)) == {0}, answer

    def take(self, *filters):
        assert set(codes(self.admin.ask("delete_acls", 3, filters=list(filters)))) <= {0}

    def deny(self, rights):
        self.give(*(acl(kind, "kafka-cluster" if kind == CLUSTER else "*", op, DENY) for kind, op in rights))

    def pardon(self, rights):
        self.take(*(acl_filter(kind, op, DENY) for kind, op in rights))


@pytest.fixture
def guarded(start, tmp_path):
    """User:ANONYMOUS comes in by the open listener, and is a super user for the sake of making users."""
    config = security.write_config(tmp_path / "millrace.yaml", [listener("kafka"), listener("sasl", "SASL_PLAINTEXT", sasl=["PLAIN", "SCRAM-SHA-256"])],
                                   authorizer="acl", superUsers=["User:admin", "User:ANONYMOUS"])
    return Guarded(start("--broker-only", "--config", str(config)))


def test_each_request_needs_its_rights_and_no_others(guarded):
    plain = ck.AdminClient({"bootstrap.servers": guarded.server.kafka})
    plain.create_topics([ck.NewTopic("t", 1)])["t"].result(20)
    guarded.give(*(acl(kind, "kafka-cluster" if kind == CLUSTER else "*", ALL, ALLOW) for kind in CODE))
    wrong, n = [], 0

    def ask(api, version, fields):
        """A group to delete offsets of is there, and a topic that would be made is not."""
        nonlocal n
        n += 1
        if api == "offset_delete":
            assert set(codes(guarded.admin.ask("offset_commit", 8, group_id="g", generation_id_or_member_epoch=-1, topics=COMMIT))) == {0}
        if "allow_auto_topic_creation" in fields:
            fields = fields | {"topics": [{"name": f"t-made-{n}"}]}
        return codes(guarded.alice.ask(api, version, **fields))

    for api, version, fields, needs in REQUESTS:
        got = ask(api, version, fields)
        if set(got) & set(CODE.values()):
            wrong.append(f"{api} v{version} with every right: {got}")
        for need in needs:
            rights = need if isinstance(need, set) else {need}
            guarded.deny(rights)
            got = ask(api, version, fields)
            wanted = {CODE[kind] for kind, _ in rights}
            if not set(got) & wanted:
                wrong.append(f"{api} v{version} without {rights}: {got}, not {wanted}")
            guarded.pardon(rights)
    assert not wrong, "\n".join(wrong)


def test_every_api_is_in_the_table(guarded):
    served = {row["api_key"] for row in guarded.admin.ask("api_versions", 3, client_software_name="w", client_software_version="1")["api_keys"]}
    names = {name for name, key in wire.KEYS.items() if key in served}
    assert names - WITHOUT == {api for api, *_ in REQUESTS}


def test_without_a_right_nothing_is_seen_of_what_there_is(guarded):
    plain = ck.AdminClient({"bootstrap.servers": guarded.server.kafka})
    plain.create_topics([ck.NewTopic("seen", 1), ck.NewTopic("hidden", 1)])["hidden"].result(20)
    guarded.give(acl(TOPIC, "seen", DESCRIBE, ALLOW))
    assert [t["name"] for t in guarded.alice.ask("metadata", 12, topics=None)["topics"]] == ["seen"]
    for name in ("hidden", "not-there"):
        answer = guarded.alice.ask("metadata", 12, topics=[{"name": name}], allow_auto_topic_creation=False)["topics"][0]
        assert (answer["error_code"], answer["topic_id"].strip("0")) == (29, ""), "the same whether it exists or not"
        assert guarded.alice.ask("delete_topics", 5, topic_names=[name])["responses"][0]["error_code"] == 29
    assert guarded.alice.ask("list_groups", 4)["groups"] == [] and guarded.alice.ask("list_transactions", 0)["transaction_states"] == []


def test_a_regular_expression_means_what_its_member_may_describe(guarded):
    """Also one that a worker matches, and also when the rights change under it."""
    plain = ck.AdminClient({"bootstrap.servers": guarded.server.kafka})
    topics = ["x-seen", "x-hidden", "x-later"]
    for future in plain.create_topics([ck.NewTopic(t, 1) for t in topics]).values():
        future.result(20)
    ids = {t["name"]: t["topic_id"] for t in guarded.admin.ask("metadata", 12, topics=[{"name": t} for t in topics])["topics"]}
    guarded.give(acl(GROUP, "g", READ, ALLOW), acl(TOPIC, "x-seen", DESCRIBE, ALLOW))

    def beat(conn, member, epoch, **more):
        return conn.ask("consumer_group_heartbeat", 1, group_id="g", member_id=member, member_epoch=epoch, **{"topic_partitions": None, **more})

    def given(answer, kept):
        return {row["topic_id"] for row in answer["assignment"]["topic_partitions"]} if answer["assignment"] else kept

    def owns(conn, member, epoch, wanted, kept):
        """Beats until the member has been given these topics and no others; with what it has said before."""
        deadline = time.monotonic() + 20
        while kept != {ids[t] for t in wanted}:
            assert time.monotonic() < deadline, f"{member} has {kept} of {ids}"
            answer = beat(conn, member, epoch, topic_partitions=[{"topic_id": t, "partitions": [0]} for t in kept])
            assert answer["error_code"] == 0, answer
            epoch = answer["member_epoch"]
            kept = given(answer, kept)
            time.sleep(0.05)
        return epoch, kept

    for member, expression in (("simple", "x-.*"), ("slow", "x-(a|b|h|l|s).*")):
        answer = beat(guarded.alice, member, 0, rebalance_timeout_ms=10000, subscribed_topic_names=[], subscribed_topic_regex=expression, topic_partitions=[])
        assert answer["error_code"] == 0, answer
        epoch, kept = owns(guarded.alice, member, answer["member_epoch"], ["x-seen"], given(answer, set()))
        guarded.give(acl(TOPIC, "x-later", DESCRIBE, ALLOW))
        epoch, kept = owns(guarded.alice, member, epoch, ["x-seen", "x-later"], kept)
        guarded.take(acl_filter(TOPIC, DESCRIBE, ALLOW) | {"resource_name_filter": "x-later"})
        owns(guarded.alice, member, epoch, ["x-seen"], kept)
        assert beat(guarded.alice, member, -1)["error_code"] == 0


def test_real_clients_are_told_what_is_missing(guarded):
    conf = sasl_conf(guarded.address, "SCRAM-SHA-256", "alice", "alice-secret")
    guarded.give(acl(TOPIC, "t", READ, ALLOW), acl(TOPIC, "t", CREATE, ALLOW))
    failures = []
    producer = confluent_kafka.Producer(conf | {"message.timeout.ms": 10000})
    producer.produce("t", b"x", on_delivery=lambda e, _: failures.append(e and e.code()))
    producer.flush(20)
    assert failures == [confluent_kafka.KafkaError.TOPIC_AUTHORIZATION_FAILED]
    guarded.give(acl(TOPIC, "t", WRITE, ALLOW))
    producer = confluent_kafka.Producer(conf | {"message.timeout.ms": 10000})
    producer.produce("t", b"x", on_delivery=lambda e, _: failures.append(e and e.code()))
    assert producer.flush(20) == 0 and failures[1:] == [None]
    consumer = confluent_kafka.Consumer(conf | {"group.id": "g", "auto.offset.reset": "earliest"})
    consumer.subscribe(["t"])
    message = None
    while message is None or message.error() is None:
        message = consumer.poll(20)
        assert message is not None, "a consumer without its group is told nothing"
    assert message.error().code() == confluent_kafka.KafkaError.GROUP_AUTHORIZATION_FAILED
    consumer.close()


def test_entries_survive_kill_9_and_a_prefix_holds_for_what_is_made_later(start, tmp_path):
    config = security.write_config(tmp_path / "millrace.yaml", [listener("kafka"), listener("sasl", "SASL_PLAINTEXT", sasl=["PLAIN", "SCRAM-SHA-256"])],
                                   authorizer="acl", superUsers=["User:admin", "User:ANONYMOUS"])
    first = Guarded(start("--broker-only", "--config", str(config)))
    first.give({**acl(TOPIC, "team.", ALL, ALLOW), "resource_pattern_type": 4}, acl(TOPIC, "team.secret", ALL, DENY, "User:*"))
    first.server.kill()
    second = start("--broker-only", "--config", str(config))
    alice = login(second.ready["sasl"], "alice", "alice-secret")
    made = alice.ask("create_topics", 7, topics=[{"name": n, "num_partitions": 1, "replication_factor": 1} for n in ("team.a", "team.secret", "other")])
    assert {t["name"]: t["error_code"] for t in made["topics"]} == {"team.a": 0, "team.secret": 29, "other": 29}
