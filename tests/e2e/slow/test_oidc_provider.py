"""A certified OpenID provider (oidc-provider of npm) gives tokens, our broker checks them with its published keys, and our data plane
gets and renews them."""

import json
import pathlib
import shutil
import subprocess
import threading
import time

import harness
import pytest
import requests
import resources
import security
from harness import wait_for
from security import listener, tls

HERE = pathlib.Path(__file__).parent / "oidc"
FOLDER = harness.ROOT / "build/oidc-provider"
SECRET = "s+e%c ret/&="
TOKEN_SECONDS = 12  # longer than the 10 s that librdkafka may wait before it connects again to one that hangs up often


@pytest.fixture(scope="module")
def modules():
    """The provider with its modules, from npm once."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    lock = FOLDER / "package-lock.json"
    if not lock.exists() or lock.read_bytes() != (HERE / lock.name).read_bytes() or not (FOLDER / "installed").exists():
        shutil.rmtree(FOLDER / "node_modules", ignore_errors=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, FOLDER / name)
        done = subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=FOLDER, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        (FOLDER / "installed").touch()
    shutil.copy(HERE / "provider.js", FOLDER / "provider.js")  # where Node looks for modules
    return FOLDER


@pytest.fixture
def authority(tmp_path):
    return security.Authority(tmp_path / "authority")


class Provider(harness.Process):
    def __init__(self, folder, authority, log):
        pair = authority.make("provider")
        super().__init__(["node", folder / "provider.js", pair[1], pair[0], TOKEN_SECONDS], log)
        self.given = 0
        threading.Thread(target=self.count, daemon=True).start()

    def count(self):
        for line in self.child.stdout:
            self.given += line.startswith("token ")

    @property
    def url(self):
        return f"https://{self.ready['https']}"


@pytest.fixture
def provider(modules, authority, tmp_path):
    process = Provider(modules, authority, tmp_path / "provider.log")
    yield process
    process.child.terminate()
    process.child.wait(20)
    process.stderr.close()


@pytest.fixture
def kafka(start, provider, authority, tmp_path):
    config = security.write_config(tmp_path / "broker.yaml", [listener("kafka"), listener("oauth", "SASL_SSL", sasl=["OAUTHBEARER"], **tls(authority.make("server")))],
                                   oauth={"jwks": f"http://{provider.ready['http']}/jwks", "issuer": provider.url, "audience": "kafka", "scope": "kafka"},
                                   config={"group.initial.rebalance.delay.ms": 0})
    return start("--broker-only", "--config", config, data="broker")


def plane_config(tmp_path, kafka, provider, authority, **oauth):
    values = {"clientId": "millrace", "clientSecretPath": str(tmp_path / "client_secret"), "scope": "kafka", "tokenEndpointUrl": f"{provider.url}/token",
              "caPath": authority.ca, **oauth}
    path = tmp_path / "plane.yaml"
    path.write_text(json.dumps({"kafka": {"bootstrap": kafka.ready["oauth"]}, "security": {"kafka": {
        "protocol": "SASL_SSL", "ssl": {"client": {"brokerCaPath": authority.ca}}, "sasl": {"mechanism": "OAUTHBEARER", "oauth": values}}}}))
    return path


def infer(plane):
    return requests.post(f"http://{plane.infer}/v2/models/chain.pipeline/infer", json={"inputs": [resources.fp32([1, 2, 3])]}, timeout=30)


def test_a_data_plane_lives_on_through_many_tokens_of_a_real_provider(start, tmp_path, toy, kafka, provider, authority):
    (tmp_path / "client_secret").write_text(SECRET + "\n")
    plane = start("--no-broker", "--config", plane_config(tmp_path, kafka, provider, authority))
    plane.apply(tmp_path, "---".join([resources.toys(toy), resources.CHAIN]))
    wait_for(lambda: requests.get(f"http://{plane.infer}/v2/pipelines/chain/ready", timeout=10).status_code == 200, 40, plane.errors)
    until = time.monotonic() + 2 * TOKEN_SECONDS
    while time.monotonic() < until or provider.given < 3:
        answer = infer(plane)
        assert answer.status_code == 200, answer.text
        assert time.monotonic() < until + 30, f"{provider.given} tokens: {plane.errors()}"
        time.sleep(0.05)
    assert "its session has ended" in kafka.log.read_text()  # so what came after was a login with a later token
    shown = plane.log.read_text() + kafka.log.read_text()
    assert SECRET not in shown and "eyJ" not in shown
    assert "SASL authentication failed" not in shown, shown


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
    said = refused(tmp_path, plane_config(tmp_path, kafka, provider, authority))
    assert "SASL authentication failed" in said and "invalid_client" in said and "check client_id and client_secret" in said, said
    assert "PLANTED" not in said
    (tmp_path / "client_secret").write_text(SECRET)
    said = refused(tmp_path, plane_config(tmp_path, kafka, provider, authority, scope="unknown"))  # the provider leaves it out, the broker misses "kafka"
    assert "SASL authentication failed" in said and "invalid_token" in said and "scope; and what the broker wants of a token" in said, said
    said = refused(tmp_path, plane_config(tmp_path, kafka, provider, authority, caPath=security.Authority(tmp_path / "other").ca))
    assert "SSL handshake failed" in said and "other/ca.pem" in said, said
