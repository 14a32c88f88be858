"""A Kafka that wants to know who it is, ours or a real Apache Kafka 3.8.1, and data planes on it."""

import collections
import contextlib
import json
import os
import socket
import subprocess
import types

import confluent_kafka.admin as ck
import harness
import replicas
import requests
import resources
import security
from harness import wait_for
from security import listener, tls

MECHANISMS = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
REAUTH_MS = 3000  # librdkafka 2.0.2 does not log in again on a connection: it is closed then, and a new one opened
USER, PASSWORD = "plane", "it's = a $ecret"


class Ours:
    """Our own broker with a listener for each protocol."""

    def __init__(self, folder, authority, pairs):
        config = security.write_config(folder / "broker.yaml", [
            listener("open"),
            listener("ssl", "SSL", **tls(pairs["server"])),
            listener("mutual", "SSL", clientAuth="required", **tls(pairs["server"], authority.ca)),
            listener("saslssl", "SASL_SSL", sasl=MECHANISMS, **tls(pairs["server"])),
            listener("sasl", "SASL_PLAINTEXT", sasl=MECHANISMS),
        ], config={"group.initial.rebalance.delay.ms": 0, "connections.max.reauth.ms": REAUTH_MS})
        self.args = [harness.MILLRACE, "serve", "--broker-only", "--data", folder / "data", "--config", config]
        self.process = harness.Process(self.args, folder / "broker.log")
        self.at = self.process.ready

    def stop(self):
        assert self.process.stop() == 0, self.process.errors()


class Apache:
    """A real Apache Kafka 3.8.1 with the same listeners, and with one for the tokens of a provider whose keys, issuer and audience `oauth` names."""

    def __init__(self, folder, authority, pairs, oauth=None):
        folder.mkdir(parents=True, exist_ok=True)
        keystore = folder / "server-and-key.pem"
        keystore.write_text(open(pairs["server"][1]).read() + open(pairs["server"][0]).read())
        with contextlib.ExitStack() as held:  # released together, so that none is given twice
            names = {n: held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
                     for n in ("ssl", "mutual", "saslssl", "sasl", *(["oauth"] if oauth else []))}
        jaas = f'org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
        scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        more = [
            "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,MUTUAL:SSL,SASLSSL:SASL_SSL,SASL:SASL_PLAINTEXT,OAUTH:SASL_SSL",
            "ssl.keystore.type=PEM", f"ssl.keystore.location={keystore}", "ssl.truststore.type=PEM", f"ssl.truststore.location={authority.ca}",
            "listener.name.mutual.ssl.client.auth=required", "sasl.enabled.mechanisms=" + ",".join(MECHANISMS),
        ]
        for name in ("saslssl", "sasl"):
            more += [f"listener.name.{name}.scram-sha-512.connections.max.reauth.ms={REAUTH_MS}"]
            more += [f"listener.name.{name}.plain.sasl.jaas.config={jaas}", f"listener.name.{name}.scram-sha-256.sasl.jaas.config={scram}",
                     f"listener.name.{name}.scram-sha-512.sasl.jaas.config={scram}"]
        if oauth:
            bearer = "org.apache.kafka.common.security.oauthbearer.OAuthBearer"
            more += [f"listener.name.oauth.oauthbearer.sasl.jaas.config={bearer}LoginModule required;", "listener.name.oauth.sasl.enabled.mechanisms=OAUTHBEARER",
                     f"listener.name.oauth.oauthbearer.sasl.server.callback.handler.class={bearer}ValidatorCallbackHandler",
                     "listener.name.oauth.oauthbearer.connections.max.reauth.ms=3600000",  # a session ends with its token
                     *(f"listener.name.oauth.oauthbearer.sasl.oauthbearer.{k}={v}" for k, v in oauth.items())]

        addresses = {n: f"127.0.0.1:{p}" for n, p in names.items()}
        self.process = harness.Kafka381(folder / "kafka", properties="\n".join(more) + "\n", listeners={n: (a, a) for n, a in addresses.items()})
        self.at = {"open": self.process.address, **addresses}

    def stop(self):
        self.process.stop()


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


def answers_on(start, tmp_path, toy, kafka, authority, pairs, setting):
    """A pipeline on the listener and with the mechanism that `setting` names; no secret is shown anywhere."""
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


def put(path, text):
    """All at once, as an editor or a mounted Secret does it."""
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").rename(path)


def says(plane, text):
    wait_for(lambda: text in plane.log.read_text(), 20, lambda: f"no {text}: {plane.errors()}")


class Turning:
    """Load on a pipeline while something is changed: every request is answered, and has one outcome."""

    def __init__(self, plane, tmp_path, toy, bootstrap, namespace):
        infers(plane, tmp_path, toy)
        self.plane, self.fleet = plane, replicas.Fleet(None, bootstrap, namespace)
        self.load = replicas.Load(types.SimpleNamespace(members=[plane]), callers=3, timeout_s=20)
        self.load.await_more(50)

    def end(self):
        self.load.await_more(100)
        answers = self.load.end()
        assert set(answers.values()) == {200}, (collections.Counter(answers.values()), self.plane.errors())
        outputs = self.fleet.records("pipeline.chain.outputs", lambda got: len(got) >= len(answers))
        found = replicas.outcomes_of(outputs)
        assert len(found) == len(answers) + 1 and all(len(v) == 1 for v in found.values()), (len(found), len(answers))


def refused(tmp_path, bootstrap, **more):
    """What a start says that cannot log in; it ends by itself."""
    config = plane_config(tmp_path / "plane.yaml", bootstrap, **more)
    done = subprocess.run([harness.MILLRACE, "serve", "--no-broker", "--config", str(config), "--infer-listen", "127.0.0.1:0", "--data", str(tmp_path / "d")],
                          capture_output=True, text=True, timeout=60, env={**os.environ})
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stderr


def allow(address, rights):
    """Options of kafka-acls.sh as entries."""
    admin = ck.AdminClient({"bootstrap.servers": address})
    for text in rights:
        words = text.split()
        given = dict(zip(words[::2], words[1::2]))
        kind = ck.ResourceType.TOPIC if "--topic" in given else ck.ResourceType.GROUP
        entry = ck.AclBinding(kind, given.get("--topic") or given["--group"], ck.ResourcePatternType[given["--resource-pattern-type"].upper()], given["--allow-principal"],
                              "*", ck.AclOperation[given["--operation"].upper()], ck.AclPermissionType.ALLOW)
        for done in admin.create_acls([entry]).values():
            done.result(20)
