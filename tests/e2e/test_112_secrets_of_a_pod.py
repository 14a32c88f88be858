"""The data plane as a pod: everything secret comes from Kubernetes Secrets through the API server, and changes there while it runs."""

import kube_stand_in
import pytest
import requests
import resources
import security
from harness import Process, MILLRACE, wait_for
from security import add_user, listener, tls


@pytest.fixture
def authority(tmp_path):
    return security.Authority(tmp_path / "ca")


class Broker:
    """With SCRAM over TLS, on the same ports after a restart."""

    def __init__(self, folder, pair):
        self.folder, self.pair, self.ports = folder, pair, {"open": "127.0.0.1:0", "login": "127.0.0.1:0"}
        self.start()

    def start(self):
        config = security.write_config(self.folder / "broker.yaml", [
            {**listener("open"), "listen": self.ports["open"]},
            {**listener("login", "SASL_SSL", sasl=["SCRAM-SHA-512"], **tls(self.pair)), "listen": self.ports["login"]},
        ], config={"group.initial.rebalance.delay.ms": 0})
        self.process = Process([MILLRACE, "serve", "--broker-only", "--data", self.folder / "broker", "--config", config], self.folder / "broker.log")
        self.ports = {name: self.process.ready[name] for name in self.ports}

    def stop(self):
        assert self.process.stop() == 0, self.process.errors()


@pytest.fixture
def kafka(tmp_path, authority):
    broker = Broker(tmp_path, authority.make("server"))
    add_user(broker.ports["open"], "plane", "first")
    yield broker
    broker.stop()


@pytest.fixture
def cluster(tmp_path, authority):
    made = kube_stand_in.Cluster(tmp_path / "pod", authority)
    made.put("kafka-login", password="first\n")
    made.put("kafka-brokers", **{"ca.crt": open(authority.ca).read()})
    return made


def pod_of(cluster, api, **more):
    return {**api, "MILLRACE_SERVICE_ACCOUNT_DIR": str(cluster.account), "POD_NAMESPACE": cluster.namespace, "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512", "KAFKA_CLIENT_SASL_USERNAME": "plane", "KAFKA_CLIENT_SASL_SECRET_NAME": "kafka-login",
            "KAFKA_CLIENT_SASL_PASSWORD_LOCATION": "/tmp/secrets/password", "KAFKA_BROKER_TLS_SECRET_NAME": "kafka-brokers",
            "KAFKA_BROKER_TLS_CA_LOCATION": "/tmp/certs/ca.crt", **more}


def infer(plane):
    return requests.post(f"http://{plane.infer}/v2/models/chain.pipeline/infer", json={"inputs": [resources.fp32([1, 2, 3])]}, timeout=10)


def answers(plane):
    """A request that met the cluster while it was away waits for it, or is over."""
    try:
        return infer(plane).status_code == 200
    except requests.exceptions.Timeout:
        return False


def test_a_password_that_changes_in_kubernetes_is_used_by_the_next_login(kafka, cluster, start, tmp_path, toy):
    with cluster.serve() as api:
        plane = start("--no-broker", "--bootstrap", kafka.ports["login"], env=pod_of(cluster, api))
        plane.apply(tmp_path, "---".join([resources.toys(toy), resources.CHAIN]))
        wait_for(lambda: requests.get(f"http://{plane.infer}/v2/pipelines/chain/ready", timeout=10).status_code == 200, 40, plane.errors)
        assert infer(plane).status_code == 200
        add_user(kafka.ports["open"], "plane", "second")
        cluster.put("kafka-login", password="second")
        kafka.stop()  # so that everybody has to log in again
        kafka.start()
        wait_for(lambda: answers(plane), 40, plane.errors)
        shown = plane.log.read_text()
    assert 'changed="the SASL password"' in shown and "first" not in shown and "second" not in shown


def test_a_missing_right_ends_the_start_with_the_rule_that_grants_it(tmp_path, kafka, cluster):
    cluster.readable.discard("kafka-login")
    with cluster.serve() as api, pytest.raises(AssertionError) as ended:
        Process([MILLRACE, "serve", "--no-broker", "--bootstrap", kafka.ports["login"], "--infer-listen", "127.0.0.1:0", "--data", tmp_path / "plane"],
                tmp_path / "plane.log", pod_of(cluster, api))
    said = str(ended.value)
    assert "the SASL password" in said and "resources [secrets], resourceNames [kafka-login], verbs [get]" in said, said
