"""Users and access control lists by the command line: on the embedded broker, through a data plane on another Kafka (ours; Apache
Kafka 3.8.1 with --kafka), by a connection of its own, and in a folder that nobody serves."""

import json
import os
import pty
import select
import subprocess

import confluent_kafka.admin as ck
import harness
import pytest
import security
from confluent_kafka import KafkaException

KAFKA_PROPERTIES = "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\nsuper.users=User:ANONYMOUS\n"
ORDERS = ("--allow-principal", "User:alice", "--operation", "Read", "--operation", "describe", "--topic", "orders", "--resource-pattern-type", "prefixed")


def run(*args, env=None, stdin=None):
    """Without a terminal and without what this shell may have set."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("MILLRACE_")}
    return subprocess.run([harness.MILLRACE, *map(str, args)], capture_output=True, text=True, timeout=60, input=stdin or "",
                          env={**clean, **(env or {})})


class Where:
    """cli(…): the command at this broker. `admin`: the configuration of a client that may do everything."""

    def __init__(self, bootstrap, *where):
        self.bootstrap, self.where = bootstrap, where
        self.admin = ck.AdminClient({"bootstrap.servers": bootstrap})

    def cli(self, *args, password=None, status=0):
        done = run(*args, *self.where, env={"MILLRACE_USER_PASSWORD": password} if password else None)
        assert done.returncode == status, f"{args}: {done.returncode} {done.stdout}{done.stderr}"
        return done

    def users(self):
        return {u["name"]: {c["mechanism"]: c["iterations"] for c in u["credentials"]}
                for u in json.loads(self.cli("user", "list", "-o", "json").stdout)["users"]}

    def acls(self, *filters):
        return json.loads(self.cli("acl", "list", "-o", "json", *filters).stdout)["acls"]


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """A broker with access control lists, which trusts its plain listener and asks at the other one."""
    folder = tmp_path_factory.mktemp("ours")
    config = security.write_config(
        folder / "c.json",
        [security.listener("kafka"),
         security.listener("asks", "SASL_PLAINTEXT", sasl=["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])],
        authorizer="acl", superUsers=["User:ANONYMOUS", "User:root"])
    server = harness.Millrace(folder / "data", "--config", config)
    plane = harness.Millrace(folder / "plane", "--no-broker", "--bootstrap", server.kafka, "--namespace", "other")
    yield server, plane
    assert plane.stop() == 0 and server.stop() == 0


@pytest.fixture(scope="module")
def where(request, bus_kind, ours, tmp_path_factory):
    server, plane = ours
    if bus_kind == "embedded":
        yield {"embedded": Where(server.kafka, "--server", server.infer),
               "remote": Where(server.kafka, "--server", plane.infer),
               "direct": Where(server.kafka, "--bootstrap", server.kafka)}
        return
    kafka = harness.Kafka381(tmp_path_factory.mktemp("kafka") / bus_kind, bus_kind, KAFKA_PROPERTIES)
    plane = harness.Millrace(tmp_path_factory.mktemp("plane") / "data", "--no-broker", "--bootstrap", kafka.address)
    yield {"embedded": None, "remote": Where(kafka.address, "--server", plane.infer), "direct": Where(kafka.address, "--bootstrap", kafka.address)}
    assert plane.stop() == 0
    kafka.stop()


@pytest.fixture(params=["embedded", "remote", "direct"])
def at(request, where):
    """Apache Kafka cannot be embedded."""
    return where[request.param] or where["direct"]


def test_a_user_is_made_changed_listed_and_deleted(at):
    assert at.users() == {}
    at.cli("user", "add", "ann", password="one")
    assert at.users() == {"ann": {"SCRAM-SHA-256": 4096, "SCRAM-SHA-512": 4096}}
    again = at.cli("user", "add", "ann", password="two", status=1)
    assert "user ann exists already; millrace user set-password ann" in again.stderr
    at.cli("user", "set-password", "ann", "--iterations", "8192", "--mechanism", "SCRAM-SHA-512", password="two")
    at.cli("user", "add", "bob", "--mechanism", "scram-sha-256", password="three")
    assert at.users() == {"ann": {"SCRAM-SHA-256": 4096, "SCRAM-SHA-512": 8192}, "bob": {"SCRAM-SHA-256": 4096}}
    seen = at.admin.describe_user_scram_credentials(["ann"])["ann"].result(20)
    assert sorted((c.mechanism.name, c.iterations) for c in seen.scram_credential_infos) == [("SCRAM_SHA_256", 4096), ("SCRAM_SHA_512", 8192)]
    assert "bob   SCRAM-SHA-256 (4096)" in at.cli("user", "list").stdout
    at.cli("user", "delete", "ann", "--mechanism", "SCRAM-SHA-256")
    assert at.users()["ann"] == {"SCRAM-SHA-512": 8192}
    at.cli("user", "delete", "ann")
    at.cli("user", "delete", "bob")
    assert "user bob does not exist" in at.cli("user", "delete", "bob", status=1).stderr
    assert "user bob does not exist" in at.cli("user", "set-password", "bob", password="x", status=1).stderr
    assert at.users() == {}


def test_entries_are_made_listed_and_deleted(at):
    at.cli("acl", "add", *ORDERS)
    at.cli("acl", "add", *ORDERS)  # twice is once
    at.cli("acl", "add", "--deny-principal", "User:eve", "--deny-host", "10.0.0.1", "--topic", "orders-eu")
    at.cli("acl", "add", "--allow-principal", "User:pro", "--producer", "--idempotent", "--topic", "orders-eu", "--transactional-id", "tx")
    harness.wait_for(lambda: len(at.acls()) == 2 + 1 + 6, 10, "nine entries")  # a cluster's brokers learn of them a little later
    assert at.acls("--principal", "User:eve") == [
        {"resourceType": "TOPIC", "name": "orders-eu", "patternType": "LITERAL", "principal": "User:eve", "host": "10.0.0.1",
         "operation": "ALL", "permission": "DENY"}]
    assert {a["operation"] for a in at.acls("--topic", "orders", "--resource-pattern-type", "prefixed")} == {"READ", "DESCRIBE"}
    assert len(at.acls("--topic", "orders-eu", "--resource-pattern-type", "match")) == 2 + 1 + 3
    assert {(a["resourceType"], a["operation"]) for a in at.acls("--principal", "User:pro")} == {
        ("TOPIC", "WRITE"), ("TOPIC", "DESCRIBE"), ("TOPIC", "CREATE"), ("TRANSACTIONAL_ID", "WRITE"), ("TRANSACTIONAL_ID", "DESCRIBE"),
        ("CLUSTER", "IDEMPOTENT_WRITE")}
    by_kafka = at.admin.describe_acls(ck.AclBindingFilter(ck.RESOURCE_TOPIC if hasattr(ck, "RESOURCE_TOPIC") else ck.ResourceType.TOPIC, "orders-eu",
                                                          ck.ResourcePatternType.LITERAL, None, None, ck.AclOperation.ANY,
                                                          ck.AclPermissionType.ANY)).result(20)
    assert len(by_kafka) == 4
    assert "PREFIXED  User:alice  *     READ" in at.cli("acl", "list", "--principal", "User:alice").stdout
    gone = at.cli("acl", "delete", "--topic", "orders", "--resource-pattern-type", "prefixed", "--operation", "Read")
    assert "READ" in gone.stdout and "DESCRIBE" not in gone.stdout
    assert "no entry is like that" in at.cli("acl", "delete", "--topic", "nothing", status=1).stderr
    assert "--force" in at.cli("acl", "delete", status=2).stderr
    at.cli("acl", "delete", "--force")
    harness.wait_for(lambda: at.acls() == [], 10, "no entries")


def test_what_cannot_be_meant_is_a_usage_error(ours):
    at = Where(ours[0].kafka, "--server", ours[0].infer)
    for words, why in (
        (("user", "add", "x", "--password", "secret"), "others can read command lines"),
        (("user", "add", "x", "--iterations", "1"), "from 4096 to 16384"),
        (("user", "add", "x", "--mechanism", "MD5"), "SCRAM-SHA-256 or SCRAM-SHA-512"),
        (("user", "add"), "usage: millrace user add NAME"),
        (("user", "sing"), "add, list, set-password or delete"),
        (("acl", "add", "--topic", "x"), "--allow-principal or --deny-principal"),
        (("acl", "add", "--allow-principal", "User:x"), "a resource is wanted"),
        (("acl", "add", "--allow-principal", "x", "--topic", "t"), "User:NAME"),
        (("acl", "add", "--allow-principal", "User:x", "--group", "g", "--operation", "Write"), "nothing of this kind"),
        (("acl", "add", "--allow-principal", "User:x", "--topic", "t", "--operation", "Fly"), 'there is no "Fly"'),
        (("acl", "add", "--allow-principal", "User:x", "--topic", "t", "--consumer"), "--group"),
        (("acl", "add", "--allow-principal", "User:x", "--topic", "t", "--resource-pattern-type", "match"), "literal or prefixed"),
        (("acl", "list", "--command-config", "f"), "goes with --bootstrap"),
        (("user", "list", "--data", "d"), "goes with --offline"),
    ):
        assert why in at.cli(*words, status=2).stderr, words


def test_the_new_password_opens_and_the_old_one_does_not(ours, tmp_path):
    server = ours[0]
    at = Where(server.kafka, "--server", server.infer)
    file = tmp_path / "secret"
    file.write_text("first\r\n")
    at.cli("user", "add", "carl", "--password", f"@{file}")
    address = server.ready["asks"]

    def opens(password):
        for mechanism in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"):
            properties = tmp_path / "client.properties"
            properties.write_text(f"# ours\nsecurity.protocol=SASL_PLAINTEXT\nsasl.mechanism={mechanism}\nsasl.username=carl\nsasl.password={password}\n")
            done = run("acl", "list", "--bootstrap", address, "--command-config", properties)
            # whoever comes in is told that he may not look; whoever does not is told so
            yield mechanism, ("CLUSTER_AUTHORIZATION_FAILED" in done.stderr) and not "SASL authentication failed" in done.stderr
            assert done.returncode == 1

    lost = run("acl", "list", "--bootstrap", "127.0.0.1:1").stderr
    assert "check that Kafka runs, and --bootstrap" in lost and "needs --command-config FILE" in lost, lost
    assert all(good for _, good in opens("first"))
    assert run("user", "set-password", "carl", "--server", server.infer, stdin="second\n").returncode == 0
    assert not any(good for _, good in opens("first"))
    assert all(good for _, good in opens("second"))
    with pytest.raises(KafkaException):
        ck.AdminClient({**security.sasl_conf(address, "SCRAM-SHA-512", "carl", "first"), "log_level": 0}).list_topics(timeout=2)
    at.cli("user", "delete", "carl")


def test_a_terminal_is_asked_twice_without_an_echo(ours):
    server = ours[0]
    pid, fd = pty.fork()
    if pid == 0:
        os.execv(harness.MILLRACE, [harness.MILLRACE, "user", "add", "dora", "--server", server.infer])
    seen = b""
    for wanted, answer in ((b"Password: ", b"hidden\n"), (b"Again: ", b"hidden\n")):
        while not seen.endswith(wanted):
            assert select.select([fd], [], [], 30)[0], f"it does not ask: {seen}"
            seen += os.read(fd, 1000)
        os.write(fd, answer)
    try:
        while more := os.read(fd, 1000):
            seen += more
    except OSError:  # the terminal is gone
        pass
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, seen
    os.close(fd)
    assert b"hidden" not in seen
    at = Where(server.kafka, "--server", server.infer)
    assert "dora" in at.users()
    at.cli("user", "delete", "dora")


def test_the_first_user_is_made_before_the_broker_starts(tmp_path, start):
    data = tmp_path / "data"
    config = security.write_config(tmp_path / "c.json", [security.listener("kafka", "SASL_PLAINTEXT", sasl=["SCRAM-SHA-512"])],
                                   authorizer="acl", superUsers=["User:root"])
    assert run("user", "add", "root", "--offline", "--data", data, stdin="very secret\n").returncode == 0
    assert run("acl", "add", "--allow-principal", "User:app", "--topic", "t", "--offline", "--data", data).returncode == 0
    server = start("--broker-only", "--config", config)
    assert run("user", "list", "--offline", "--data", data).returncode == 3  # in use
    admin = ck.AdminClient(security.sasl_conf(server.kafka, "SCRAM-SHA-512", "root", "very secret"))
    assert list(admin.describe_user_scram_credentials().result(20)) == ["root"]
    properties = tmp_path / "root.properties"
    properties.write_text("security.protocol=SASL_PLAINTEXT\nsasl.mechanism=SCRAM-SHA-512\nsasl.username=root\nsasl.password=very secret\n")
    found = run("acl", "list", "--bootstrap", server.kafka, "--command-config", properties, "-o", "json")
    assert [a["principal"] for a in json.loads(found.stdout)["acls"]] == ["User:app"]


def test_without_an_authorizer_it_says_so(start):
    server = start()
    done = run("acl", "list", "--server", server.infer)
    assert done.returncode == 1 and "no authorizer is on" in done.stderr and "broker.authorizer" in done.stderr


def test_what_is_no_administration_does_not_pass(ours):
    """A Produce, garbage, and the wrong method at the page that commands use."""
    import http.client

    host, port = ours[0].infer.rsplit(":", 1)
    for method, body, status in (("POST", bytes.fromhex("0000000900000001ffff"), 400), ("POST", b"garbage", 400), ("GET", None, 405)):
        connection = http.client.HTTPConnection(host, int(port), timeout=20)
        connection.request(method, "/millrace/v1/kafka", body, {"Content-Type": "application/octet-stream"} if body else {})
        answer = connection.getresponse()
        assert answer.status == status and "error" in json.loads(answer.read())
        connection.close()
