"""A certified OpenID provider (oidc-provider of npm) gives tokens, our broker, or a real Apache Kafka 3.8.1, checks them with its published
keys, and our data plane gets and renews them."""

import json
import subprocess
import time

import confluent_kafka
import harness
import openid
import pytest
import requests
import resources
import secured
import security
from harness import wait_for
from security import listener, tls

SECRET = "s+e%c ret/&="
TOKEN_SECONDS = 12  # longer than the 10 s that librdkafka may wait before it connects again to one that hangs up often


@pytest.fixture
def authority(tmp_path):
    return security.Authority(tmp_path / "authority")


@pytest.fixture
def provider(authority, tmp_path):
    process = openid.Provider(authority, tmp_path / "provider.log", TOKEN_SECONDS)
    yield process
    process.end()


@pytest.fixture
def kafka(start, provider, authority, tmp_path):
    config = security.write_config(tmp_path / "broker.yaml", [listener("kafka"), listener("oauth", "SASL_SSL", sasl=["OAUTHBEARER"], **tls(authority.make("server")))],
                                   oauth={"jwks": f"http://{provider.ready['http']}/jwks", "issuer": provider.url, "audience": "kafka", "scope": "kafka"},
                                   config={"group.initial.rebalance.delay.ms": 0})
    return start("--broker-only", "--config", config, data="broker")


def plane_config(tmp_path, address, provider, authority, **oauth):
    values = {"clientId": "millrace", "clientSecretPath": str(tmp_path / "client_secret"), "scope": "kafka", "tokenEndpointUrl": f"{provider.url}/token",
              "caPath": authority.ca, **oauth}
    path = tmp_path / "plane.yaml"
    path.write_text(json.dumps({"kafka": {"bootstrap": address}, "security": {"kafka": {
        "protocol": "SASL_SSL", "ssl": {"client": {"brokerCaPath": authority.ca}}, "sasl": {"mechanism": "OAUTHBEARER", "oauth": values}}}}))
    return path


def infer(plane):
    return requests.post(f"http://{plane.infer}/v2/models/chain.pipeline/infer", json={"inputs": [resources.fp32([1, 2, 3])]}, timeout=30)


def lives_on(start, tmp_path, toy, address, provider, authority, seconds, tokens):
    """A data plane whose pipeline answers for so long, and with so many tokens, without an error."""
    (tmp_path / "client_secret").write_text(SECRET + "\n")
    plane = start("--no-broker", "--config", plane_config(tmp_path, address, provider, authority))
    plane.apply(tmp_path, "---".join([resources.toys(toy), resources.CHAIN]))
    wait_for(lambda: requests.get(f"http://{plane.infer}/v2/pipelines/chain/ready", timeout=10).status_code == 200, 40, plane.errors)
    until = time.monotonic() + seconds
    while time.monotonic() < until or provider.given < tokens:
        answer = infer(plane)
        assert answer.status_code == 200, answer.text
        assert time.monotonic() < until + 30, f"{provider.given} tokens: {plane.errors()}"
        time.sleep(0.05)
    shown = plane.log.read_text()
    assert SECRET not in shown and "eyJ" not in shown
    assert "SASL authentication failed" not in shown, shown


def test_a_data_plane_lives_on_through_many_tokens_of_a_real_provider(start, tmp_path, toy, kafka, provider, authority):
    lives_on(start, tmp_path, toy, kafka.ready["oauth"], provider, authority, 2 * TOKEN_SECONDS, 3)
    said = kafka.log.read_text()
    assert "its session has ended" in said  # so what came after was a login with a later token
    assert SECRET not in said and "eyJ" not in said and "SASL authentication failed" not in said, said


@pytest.fixture
def apache(provider, authority, tmp_path):
    kafka = secured.Apache(tmp_path / "kafka", authority, {"server": authority.make("server")}, {
        "jwks.endpoint.url": f"http://{provider.ready['http']}/jwks", "expected.issuer": provider.url, "expected.audience": "kafka",
        "clock.skew.seconds": 0})  # an old token is no good a moment after its time
    yield kafka
    kafka.stop()


def test_a_real_apache_kafka_believes_the_tokens_that_we_fetch_and_renew(apache, start, tmp_path, toy, provider, authority):
    first, failures = provider.token(), []
    lasting = confluent_kafka.Producer({  # keeps the token that it has
        "bootstrap.servers": apache.at["oauth"], "security.protocol": "SASL_SSL", "ssl.ca.location": authority.ca, "sasl.mechanism": "OAUTHBEARER", "log_level": 0,
        "oauth_cb": lambda _: (first, time.time() + 300), "error_cb": failures.append})
    lasting.produce("t", b"in time")
    assert lasting.flush(20) == 0 and not any("uthentication" in e.str() for e in failures), failures
    given = provider.given
    lives_on(start, tmp_path, toy, apache.at["oauth"], provider, authority, TOKEN_SECONDS + 2, given + 2)
    lasting.produce("t", b"too late")  # Kafka ends a session with its token, so the data plane came in with a later one
    wait_for(lambda: lasting.poll(0.1) is not None and any("uthentication" in e.str() for e in failures), 20, lambda: str(failures))


def test_a_client_that_posts_its_secret_and_takes_everything_from_the_environment(start, tmp_path, kafka, provider, authority):
    (tmp_path / "client_secret").write_text("plain")
    plane = start("--no-broker", "--bootstrap", kafka.ready["oauth"], env={
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_MECHANISM": "OAUTHBEARER", "KAFKA_BROKER_TLS_CA_LOCATION": authority.ca,
        "KAFKA_CLIENT_OAUTH_CLIENT_ID": "poster", "KAFKA_CLIENT_OAUTH_CLIENT_SECRET_LOCATION": str(tmp_path / "client_secret"),
        "KAFKA_CLIENT_OAUTH_TOKEN_ENDPOINT_URL": f"{provider.url}/token", "KAFKA_CLIENT_OAUTH_SCOPE": "kafka", "KAFKA_CLIENT_OAUTH_CA_LOCATION": authority.ca})
    wait_for(lambda: requests.get(f"http://{plane.infer}/v2/health/ready", timeout=10).status_code == 200, 40, plane.errors)


def refused(tmp_path, config):
    done = subprocess.run([harness.MILLRACE, "serve", "--no-broker", "--config", config, "--infer-listen", "127.0.0.1:0", "--data", tmp_path / "d"], capture_output=True,
                          text=True, timeout=60, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stderr


def test_a_wrong_secret_scope_or_certificate_ends_the_start_with_its_cause(tmp_path, kafka, provider, authority):
    (tmp_path / "client_secret").write_text("PLANTED")
    said = refused(tmp_path, plane_config(tmp_path, kafka.ready["oauth"], provider, authority))
    assert "SASL authentication failed" in said and "invalid_client" in said and "check client_id and client_secret" in said, said
    assert "PLANTED" not in said
    (tmp_path / "client_secret").write_text(SECRET)
    said = refused(tmp_path, plane_config(tmp_path, kafka.ready["oauth"], provider, authority, scope="unknown"))  # the provider leaves it out, the broker misses "kafka"
    assert "SASL authentication failed" in said and "invalid_token" in said and "scope; and what the broker wants of a token" in said, said
    said = refused(tmp_path, plane_config(tmp_path, kafka.ready["oauth"], provider, authority, caPath=security.Authority(tmp_path / "other").ca))
    assert "SSL handshake failed" in said and "other/ca.pem" in said, said
