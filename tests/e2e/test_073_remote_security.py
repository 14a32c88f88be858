"""The data plane on a Kafka that wants to know who it is: every protocol and mechanism, against our own broker, and against a
real Apache Kafka 3.8.1 where it is assembled (./dev ci)."""

import contextlib
import json
import os
import socket
import subprocess

import harness
import pytest
import requests
import resources
import security
from harness import wait_for
from security import add_user, listener, tls

MECHANISMS = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
USER, PASSWORD = "plane", "it's = a $ecret"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return security.Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def pairs(authority):
    return {"server": authority.make("server"), "client": authority.make("client", "/CN=plane/OU=Tests")}


class Ours:
    """Our own broker with a listener for each protocol."""

    def __init__(self, folder, authority, pairs):
        config = security.write_config(folder / "broker.yaml", [
            listener("open"),
            listener("ssl", "SSL", **tls(pairs["server"])),
            listener("mutual", "SSL", clientAuth="required", **tls(pairs["server"], authority.ca)),
            listener("saslssl", "SASL_SSL", sasl=MECHANISMS, **tls(pairs["server"])),
            listener("sasl", "SASL_PLAINTEXT", sasl=MECHANISMS),
        ], config={"group.initial.rebalance.delay.ms": 0})
        log = folder / "broker.log"
        self.process = harness.Process([harness.MILLRACE, "serve", "--broker-only", "--data", folder / "data", "--config", config], log)
        self.at = self.process.ready

    def stop(self):
        assert self.process.stop() == 0, self.process.errors()


class Apache:
    """A real Apache Kafka 3.8.1 with the same listeners."""

    def __init__(self, folder, authority, pairs):
        keystore = folder / "server-and-key.pem"
        keystore.write_text(open(pairs["server"][1]).read() + open(pairs["server"][0]).read())
        with contextlib.ExitStack() as held:  # released together, so that none is given twice
            taken = [held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(4)]
        names = dict(zip(("ssl", "mutual", "saslssl", "sasl"), taken))
        listeners = ",".join(f"{n.upper()}://127.0.0.1:{p}" for n, p in names.items())
        jaas = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
        scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        more = [
            "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,MUTUAL:SSL,SASLSSL:SASL_SSL,SASL:SASL_PLAINTEXT",
            "ssl.keystore.type=PEM", f"ssl.keystore.location={keystore}", "ssl.truststore.type=PEM", f"ssl.truststore.location={authority.ca}",
            "listener.name.mutual.ssl.client.auth=required", "sasl.enabled.mechanisms=" + ",".join(MECHANISMS),
        ]
        for name in ("saslssl", "sasl"):
            more += [f"listener.name.{name}.plain.sasl.jaas.config={jaas}", f"listener.name.{name}.scram-sha-256.sasl.jaas.config={scram}",
                     f"listener.name.{name}.scram-sha-512.sasl.jaas.config={scram}"]

        class Secured(harness.Kafka381):
            def start(self):
                own = f"PLAINTEXT://127.0.0.1:{self.port}"
                with open(self.data / "more.properties", "a") as props:
                    props.write(f"listeners={own},CONTROLLER://127.0.0.1:{self.port + 1},{listeners}\nadvertised.listeners={own},{listeners}\n")
                super().start()

        self.process = Secured(folder / "kafka", properties="\n".join(more) + "\n")
        self.at = {"open": self.process.address, **{n: f"127.0.0.1:{p}" for n, p in names.items()}}

    def stop(self):
        self.process.stop()


@pytest.fixture(scope="module")
def kafka(bus_kind, tmp_path_factory, authority, pairs):
    made = (Ours if bus_kind == "embedded" else Apache)(tmp_path_factory.mktemp("kafka"), authority, pairs)
    try:
        add_user(made.at["open"], USER, PASSWORD)
        yield made
    finally:
        made.stop()


def plane_config(path, bootstrap, **kafka_security):
    path.write_text(json.dumps({"kafka": {"bootstrap": bootstrap}, "security": {"kafka": kafka_security}}))
    return path


def infers(plane, tmp_path, toy):
    plane.apply(tmp_path, "---".join([resources.toys(toy), resources.CHAIN]))
    url = f"http://{plane.infer}/v2/pipelines/chain"
    wait_for(lambda: requests.get(f"{url}/ready", timeout=10).status_code == 200, 40, lambda: plane.errors())
    answer = requests.post(f"http://{plane.infer}/v2/models/chain.pipeline/infer", json={"inputs": [resources.fp32([1, 2, 3])]}, timeout=30)
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"][0]["data"] == [20, 30, 40], answer.text


def tls_files(authority, pair=None):
    own = {"crtPath": pair[0], "keyPath": pair[1]} if pair else {}
    return {"client": {"brokerCaPath": authority.ca, **own}}


def login(tmp_path, mechanism=None, password=PASSWORD):
    (tmp_path / "password").write_text(password + "\n")  # as an editor leaves it
    made = {"client": {"username": USER, "passwordPath": str(tmp_path / "password")}}
    return made | ({"mechanism": mechanism} if mechanism else {})


@pytest.mark.parametrize("setting", ["ssl", "mutual", "saslssl-PLAIN", "saslssl-SCRAM-SHA-256", "saslssl", "sasl", "sasl-PLAIN"])
def test_a_pipeline_answers_on_a_secured_kafka(start, tmp_path, toy, kafka, authority, pairs, setting):
    name, _, mechanism = setting.partition("-")
    protocol = {"ssl": "SSL", "mutual": "SSL", "saslssl": "SASL_SSL", "sasl": "SASL_PLAINTEXT"}[name]
    more = {"protocol": protocol}
    if name != "sasl":
        more["ssl"] = tls_files(authority, pairs["client"] if name == "mutual" else None)
    if "sasl" in name:
        more["sasl"] = login(tmp_path, mechanism)
    config = plane_config(tmp_path / "plane.yaml", kafka.at[name], **more)
    plane = start("--no-broker", "--config", config, "--namespace", "t-" + setting.lower())
    infers(plane, tmp_path, toy)
    assert f"{USER} " in plane.cli("user", "list").stdout  # administration logs in the same way
    shown = subprocess.run([harness.MILLRACE, "config", "--config", str(config)], capture_output=True, text=True, timeout=20)
    assert shown.returncode == 0, shown.stderr
    for text in (plane.log.read_text(), shown.stdout, open(f"/proc/{plane.pid}/cmdline").read()):
        assert PASSWORD not in text and "PRIVATE KEY" not in text


def test_the_environment_alone_is_enough(start, tmp_path, toy, kafka, authority):
    (tmp_path / "pw").write_text(PASSWORD)
    plane = start("--no-broker", "--bootstrap", kafka.at["saslssl"], "--namespace", "t-env", env={
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_CLIENT_SASL_USERNAME": USER, "KAFKA_CLIENT_SASL_PASSWORD_LOCATION": str(tmp_path / "pw"),
        "KAFKA_BROKER_TLS_CA_LOCATION": authority.ca, "KAFKA_CLIENT_TLS_CRT_LOCATION": "/nowhere/tls.crt", "KAFKA_CLIENT_TLS_KEY_LOCATION": "/nowhere/tls.key",
        "KAFKA_CLIENT_TLS_ENDPOINT_IDENTIFICATION_ALGORITHM": ""})
    assert "mechanism=PLAIN" in plane.log.read_text()
    infers(plane, tmp_path, toy)


def refused(tmp_path, bootstrap, **more):
    """What a start says that cannot log in; it ends by itself."""
    config = plane_config(tmp_path / "plane.yaml", bootstrap, **more)
    done = subprocess.run([harness.MILLRACE, "serve", "--no-broker", "--config", str(config), "--infer-listen", "127.0.0.1:0", "--data", str(tmp_path / "d")],
                          capture_output=True, text=True, timeout=60, env={**os.environ})
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stderr


def test_a_wrong_password_ends_the_start_with_the_cause_and_the_remedy(tmp_path, kafka, authority):
    said = refused(tmp_path, kafka.at["saslssl"], protocol="SASL_SSL", ssl=tls_files(authority), sasl=login(tmp_path, password="guess"))
    assert "SASL authentication failed" in said and "username, password and mechanism" in said, said
    assert said.count("event=kafka.trouble") == 1, said
    assert "guess" not in said


def test_a_certificate_is_named_with_its_names_and_dates(tmp_path, kafka, authority):
    other = security.Authority(tmp_path / "other", "somebody else")
    said = refused(tmp_path, kafka.at["ssl"], protocol="SSL", ssl=tls_files(other))
    assert "SSL handshake failed" in said and "CN=server for localhost, 127.0.0.1" in said and "good from 20" in said, said
    assert "signed by CN=test authority" in said and "brokerCaPath" in said, said
    assert said.count("event=kafka.trouble") == 1, said


def test_a_broker_that_wants_a_client_certificate_says_so(tmp_path, kafka, authority):
    said = refused(tmp_path, kafka.at["mutual"], protocol="SSL", ssl=tls_files(authority))
    assert "SSL handshake failed" in said and "crtPath" in said, said


def test_a_listener_without_tls_is_told_from_one_with_it(tmp_path, kafka, authority):
    said = refused(tmp_path, kafka.at["open"], protocol="SSL", ssl=tls_files(authority))
    assert "SSL handshake failed" in said and "speak no TLS" in said.replace("speaks", "speak"), said


def test_a_secret_that_is_not_there_is_named_at_once(tmp_path, kafka, authority):
    said = refused(tmp_path, kafka.at["sasl"], protocol="SASL_PLAINTEXT",
                   sasl={"client": {"username": USER, "passwordPath": str(tmp_path / "nothing")}})
    assert "the SASL password" in said and "nothing" in said, said


def test_what_the_cluster_can_do_is_said_once(start, tmp_path, kafka, bus_kind):
    plane = start("--no-broker", "--bootstrap", kafka.at["open"], "--namespace", "t-table", "--kafka.topics.replicationFactor", "3")
    said = wait_for(lambda: [line for line in plane.log.read_text().splitlines() if "event=kafka.capabilities" in line], 20, "no table")
    assert len(said) == 1
    for text in ('protocol="Produce ', "idempotence=yes", "transactions=yes", "message_size=", "wanted 3", "auto-create=", 'kind="Apache Kafka"'):
        assert text in said[0], said[0]
    degraded = [line for line in plane.log.read_text().splitlines() if "event=kafka.degraded" in line]
    assert any("what=replication" in line and "3 replicas on 1 brokers" in line for line in degraded), degraded
