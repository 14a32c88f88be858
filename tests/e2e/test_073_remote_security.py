"""The data plane on a Kafka that wants to know who it is: our own broker, in every protocol and mechanism."""

import contextlib
import socket
import threading
import time

import pytest
import requests
import resources
import secured
import security
from harness import wait_for
from secured import PASSWORD, USER, answers_on, infers, login, plane_config, put, refused, says, tls_files
from security import add_user, listener, tls
from stand_in import Handler, serving


@pytest.fixture(scope="module")
def kafka(tmp_path_factory, authority, pairs):
    made = secured.Ours(tmp_path_factory.mktemp("kafka"), authority, pairs)
    try:
        add_user(made.at["open"], USER, PASSWORD)
        yield made
    finally:
        made.stop()


@pytest.mark.parametrize("setting", ["ssl", "mutual", "saslssl-PLAIN", "saslssl-SCRAM-SHA-256", "saslssl", "sasl", "sasl-PLAIN"])
def test_a_pipeline_answers_on_a_secured_kafka(start, tmp_path, toy, kafka, authority, pairs, setting):
    answers_on(start, tmp_path, toy, kafka, authority, pairs, setting)


def test_the_environment_alone_is_enough(start, tmp_path, toy, kafka, authority):
    (tmp_path / "pw").write_text(PASSWORD)
    plane = start("--no-broker", "--bootstrap", kafka.at["saslssl"], "--namespace", "t-env", env={
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_CLIENT_SASL_USERNAME": USER, "KAFKA_CLIENT_SASL_PASSWORD_LOCATION": str(tmp_path / "pw"),
        "KAFKA_BROKER_TLS_CA_LOCATION": authority.ca, "KAFKA_CLIENT_TLS_CRT_LOCATION": "/nowhere/tls.crt", "KAFKA_CLIENT_TLS_KEY_LOCATION": "/nowhere/tls.key",
        "KAFKA_CLIENT_TLS_ENDPOINT_IDENTIFICATION_ALGORITHM": ""})
    assert "mechanism=PLAIN" in plane.log.read_text()
    infers(plane, tmp_path, toy)


def test_after_a_certificate_has_changed_nothing_needs_the_old_one(start, tmp_path, toy, authority, pairs):
    """The broker stops taking the old authority: producers, readers, administration and the group's member all come again."""
    other = security.Authority(tmp_path / "other", "another authority")
    crt, key, both = tmp_path / "tls.crt", tmp_path / "tls.key", tmp_path / "clients.pem"
    both.write_text(open(authority.ca).read() + open(other.ca).read())
    old, new = authority.make("old"), other.make("new")
    put(crt, open(old[0]).read())
    put(key, open(old[1]).read())
    config = security.write_config(tmp_path / "broker.yaml", [listener("kafka", "SSL", clientAuth="required", **tls(pairs["server"], str(both)))],
                                   config={"group.initial.rebalance.delay.ms": 0})
    broker = start("--broker-only", "--config", config, data="broker")
    config = plane_config(tmp_path / "plane.yaml", broker.kafka, protocol="SSL", ssl=tls_files(authority, (str(crt), str(key))))
    plane = start("--no-broker", "--config", config, "--namespace", "t-other")
    infers(plane, tmp_path, toy)
    says(plane, "event=flow.owners")
    put(key, open(new[1]).read())
    put(crt, open(new[0]).read())
    says(plane, "clients with the new certificates take over")
    address = broker.kafka
    assert broker.stop() == 0
    both.write_text(open(other.ca).read())
    start("--broker-only", "--config", tmp_path / "broker.yaml", data="broker", kafka_listen=address)
    says(plane, "a client with the new certificates joins")
    url = f"http://{plane.infer}/v2/models/chain.pipeline/infer"
    wait_for(lambda: requests.post(url, json={"inputs": [resources.fp32([1, 2, 3])]}, timeout=30).status_code == 200, 40, lambda: plane.errors())
    wait_for(lambda: plane.log.read_text().split("a client with the new certificates joins")[1].count("event=flow.owners") > 0, 40, lambda: plane.errors())


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


def test_a_user_who_may_do_nothing_is_told_what_he_needs_and_breaks_no_producer_after_the_other(start, tmp_path):
    listeners = [listener("open"), listener("asks", "SASL_PLAINTEXT", sasl=["SCRAM-SHA-512"])]
    config = security.write_config(tmp_path / "broker.yaml", listeners, superUsers=["User:ANONYMOUS"], authorizer="acl")
    broker = start("--broker-only", "--config", config, data="broker")
    add_user(broker.ready["open"], USER, PASSWORD)
    said = refused(tmp_path, broker.ready["asks"], protocol="SASL_PLAINTEXT", sasl=login(tmp_path))
    assert "control.resources is missing and could not be created" in said and "let this user create it" in said, said
    assert said.count("event=kafka.producer.renewed") < 8, said
    assert "IDEMPOTENT_WRITE on the cluster" in said, said


def test_what_the_cluster_can_do_is_said_once(start, tmp_path, kafka):
    plane = start("--no-broker", "--bootstrap", kafka.at["open"], "--namespace", "t-table", "--kafka.topics.replicationFactor", "3")
    said = wait_for(lambda: [line for line in plane.log.read_text().splitlines() if "event=kafka.capabilities" in line], 20, "no table")
    assert len(said) == 1
    for text in ('protocol="Produce ', "idempotence=yes", "transactions=yes", "message_size=", "wanted 3", "auto-create=", 'kind="Apache Kafka"'):
        assert text in said[0], said[0]
    degraded = [line for line in plane.log.read_text().splitlines() if "event=kafka.degraded" in line]
    assert any("what=replication" in line and "3 replicas on 1 brokers" in line for line in degraded), degraded


def test_a_token_of_an_endpoint_logs_in_with_its_extensions_beside_it(start, tmp_path, toy):
    """What Confluent Cloud wants. The certified provider is in slow/test_oidc_provider.py."""
    issuer, asked = security.Issuer(tmp_path / "issuer"), []
    issuer.add_key("one")
    (tmp_path / "jwks.json").write_text(issuer.jwks())
    (tmp_path / "client-secret").write_text("not-for-the-log\n")

    class Endpoint(Handler):
        def do_POST(self):
            asked.append((self.headers.get("Authorization"), self.body()))
            now = time.time()
            token = issuer.token("one", sub="plane", iat=int(now), exp=int(now) + 600)
            self.answer(200, {"access_token": token, "token_type": "Bearer", "expires_in": 600})

    config = security.write_config(tmp_path / "broker.yaml", [listener("kafka", "SASL_PLAINTEXT", sasl=["OAUTHBEARER"])], oauth={"jwks": str(tmp_path / "jwks.json")})
    broker = start("--broker-only", "--config", config, data="broker")
    with serving(Endpoint) as url:
        oauth = {"tokenEndpointUrl": url, "clientId": "plane", "clientSecretPath": str(tmp_path / "client-secret"), "extensions": "logicalCluster=lkc-1,identityPoolId=pool-2"}
        config = plane_config(tmp_path / "plane.yaml", broker.kafka, protocol="SASL_PLAINTEXT", sasl={"mechanism": "OAUTHBEARER", "oauth": oauth})
        with socket.create_server(("127.0.0.1", 0)) as tap:  # what travels, on the way to the broker
            seen = []
            threading.Thread(target=tapped, args=(tap, broker.kafka, seen), daemon=True).start()
            config.write_text(config.read_text().replace(broker.kafka, f"127.0.0.1:{tap.getsockname()[1]}"))
            plane = start("--no-broker", "--config", config, "--namespace", "t-oauth")
            infers(plane, tmp_path, toy)
    assert len(asked) == 1 and "not-for-the-log" not in plane.log.read_text()
    first = b"".join(seen)
    assert b"logicalCluster=lkc-1\x01" in first and b"identityPoolId=pool-2\x01" in first and b"auth=Bearer " in first


def tapped(tap, address, seen):
    """Passes every connection on, and keeps what the client said."""
    def pass_on(source, sink, keep):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if keep:
                    seen.append(data)
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    with contextlib.suppress(OSError):
        while True:
            client, _ = tap.accept()
            host, port = address.rsplit(":", 1)
            there = socket.create_connection((host, int(port)))
            threading.Thread(target=pass_on, args=(client, there, True), daemon=True).start()
            threading.Thread(target=pass_on, args=(there, client, False), daemon=True).start()
