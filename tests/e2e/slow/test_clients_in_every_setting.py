"""Clients in Java, C (librdkafka), Python and Go write to our broker and read from it in a group, over TLS, with certificates and with each SASL
mechanism; the tokens are those of a real OpenID provider. Only the user that a setting logs in as may use its topic."""

import os
import pathlib
import subprocess
import time

import confluent_kafka
import harness
import kafka
import kafka.net.sasl.oauth
import openid
import pytest
import security
from harness import go, kafka_python_consumer, wait_for
from openid import CLIENT, SECRET
from secured import MECHANISMS, PASSWORD, USER, allow
from security import listener, tls
from tool_jvm import ToolJvm

COUNT = 20
TOKEN_SECONDS = 600
SETTINGS = {  # listener, mechanism
    "SSL": ("ssl", None),
    "SSL with a client's certificate": ("mutual", None),
    **{f"SASL_SSL {m}": ("saslssl", m) for m in (*MECHANISMS, "OAUTHBEARER")},
    **{f"SASL_PLAINTEXT {m}": ("sasl", m) for m in ("SCRAM-SHA-256", "SCRAM-SHA-512")},
}


class Setting:
    """One way in, and what each client has to be told of it."""

    def __init__(self, world, name):
        self.listener, self.mechanism = SETTINGS[name]
        self.encrypted, self.login = self.listener != "sasl", "sasl" in self.listener
        self.protocol = ("SASL_" if self.login else "") + ("SSL" if self.encrypted else "PLAINTEXT")
        self.address = world.broker.ready[self.listener]
        self.pair = world.pair if self.listener == "mutual" else None
        self.ca = world.authority.ca if self.encrypted else None
        self.user = {"ssl": "ANONYMOUS", "mutual": "CN=client"}.get(self.listener) or (CLIENT if self.mechanism == "OAUTHBEARER" else USER)
        self.topic = f"{self.listener}-{self.mechanism}-".lower()
        allow(world.broker.kafka, [f"--allow-principal User:{self.user} --operation All {kind} {self.topic} --resource-pattern-type prefixed" for kind in ("--topic", "--group")])


class World:
    """A provider of tokens and a broker with every kind of listener."""

    def __init__(self, folder):
        self.folder = folder
        self.authority = security.Authority(folder / "authority")
        self.pair = self.authority.make("client")
        self.provider = openid.Provider(self.authority, folder / "provider.log", TOKEN_SECONDS)
        server = self.authority.make("server")
        config = security.write_config(folder / "broker.yaml", [
            listener("kafka"),
            listener("ssl", "SSL", **tls(server)),
            listener("mutual", "SSL", clientAuth="required", **tls(server, self.authority.ca)),
            listener("saslssl", "SASL_SSL", sasl=[*MECHANISMS, "OAUTHBEARER"], **tls(server)),
            listener("sasl", "SASL_PLAINTEXT", sasl=MECHANISMS),
        ], oauth={"jwks": f"http://{self.provider.ready['http']}/jwks", "issuer": self.provider.url, "audience": "kafka", "scope": "kafka"},
            authorizer="acl", superUsers=["User:ANONYMOUS"], config={"group.initial.rebalance.delay.ms": 0})
        self.broker = harness.Millrace(folder / "data", "--broker-only", "--config", config)
        security.add_user(self.broker.kafka, USER, PASSWORD)
        self.jvm = ToolJvm(pathlib.Path(harness.KAFKA381) / "libs", folder / "runner")

    def stop(self):
        self.jvm.stop()
        assert self.broker.stop() == 0, self.broker.errors()
        self.provider.end()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    made = World(tmp_path_factory.mktemp("clients"))
    yield made
    made.stop()


# ---- each client: writes COUNT records "NAME n" to a topic, and returns what a group reads from it ----


def java_config(world, at):
    lines = {"security.protocol": at.protocol}
    if at.encrypted:
        lines |= {"ssl.truststore.type": "PEM", "ssl.truststore.location": at.ca}
    if at.pair:
        both = world.folder / "client-and-key.pem"
        both.write_text(pathlib.Path(at.pair[1]).read_text() + pathlib.Path(at.pair[0]).read_text())
        lines |= {"ssl.keystore.type": "PEM", "ssl.keystore.location": both}
    if at.login:
        package = "org.apache.kafka.common.security"
        module, options = {"PLAIN": ("plain.Plain", f'username="{USER}" password="{PASSWORD}"'),
                           "OAUTHBEARER": ("oauthbearer.OAuthBearer", f'clientId="{CLIENT}" clientSecret="{SECRET}" scope="kafka"')}.get(
            at.mechanism, ("scram.Scram", f'username="{USER}" password="{PASSWORD}"'))
        lines |= {"sasl.mechanism": at.mechanism, "sasl.jaas.config": f"{package}.{module}LoginModule required {options};"}
    if at.mechanism == "OAUTHBEARER":
        lines |= {"sasl.login.callback.handler.class": f"{package}.oauthbearer.OAuthBearerLoginCallbackHandler", "sasl.oauthbearer.token.endpoint.url": world.provider.token_url}
    path = world.folder / f"{at.topic}.properties"
    path.write_text("".join(f"{k}={v}\n" for k, v in lines.items()))
    return path


def java(world, at, topic):
    config = java_config(world, at)
    status, said, wrong = world.jvm.run("console-producer", "--bootstrap-server", at.address, "--topic", topic, "--producer.config", config,
                                        stdin="".join(f"java {i}\n" for i in range(COUNT)))
    assert status == 0 and "ERROR" not in wrong, said + wrong
    status, said, wrong = world.jvm.run("console-consumer", "--bootstrap-server", at.address, "--topic", topic, "--consumer.config", config, "--group", topic,
                                        "--from-beginning", "--max-messages", COUNT, "--timeout-ms", 20000)
    assert status == 0, said + wrong
    return said.splitlines()


def librdkafka(world, at, topic):
    conf = security.ssl_conf(at.address, at.ca, at.pair) if at.encrypted else {"bootstrap.servers": at.address}
    conf |= {"security.protocol": at.protocol}
    if at.mechanism == "OAUTHBEARER":
        conf |= {"sasl.mechanism": at.mechanism, "sasl.oauthbearer.method": "oidc", "sasl.oauthbearer.client.id": CLIENT, "sasl.oauthbearer.client.secret": SECRET,
                 "sasl.oauthbearer.token.endpoint.url": world.provider.token_url, "sasl.oauthbearer.scope": "kafka"}
    elif at.login:
        conf |= {"sasl.mechanism": at.mechanism, "sasl.username": USER, "sasl.password": PASSWORD}
    failures, got = [], []
    producer = confluent_kafka.Producer(conf | {"message.timeout.ms": 20000})
    for i in range(COUNT):
        producer.produce(topic, f"librdkafka {i}", on_delivery=lambda e, _: failures.append(e) if e else None)
    assert producer.flush(25) == 0 and not failures, failures
    consumer = confluent_kafka.Consumer(conf | {"group.id": topic, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    wait_for(lambda: got.extend(m.value().decode() for m in consumer.consume(COUNT, 0.1) if not m.error()) or len(got) >= COUNT, 20, lambda: f"{got}")
    consumer.close()
    return got


def kafka_python(world, at, topic):
    class Tokens(kafka.net.sasl.oauth.AbstractTokenProvider):
        def token(self):
            return world.provider.token()

    conf = {"bootstrap_servers": at.address, "security_protocol": at.protocol}
    if at.encrypted:
        conf |= {"ssl_cafile": at.ca}
    if at.pair:
        conf |= {"ssl_certfile": at.pair[0], "ssl_keyfile": at.pair[1]}
    if at.mechanism == "OAUTHBEARER":
        conf |= {"sasl_mechanism": at.mechanism, "sasl_oauth_token_provider": Tokens()}
    elif at.login:
        conf |= {"sasl_mechanism": at.mechanism, "sasl_plain_username": USER, "sasl_plain_password": PASSWORD}
    producer = kafka.KafkaProducer(**conf)
    for sent in [producer.send(topic, f"kafka-python {i}".encode()) for i in range(COUNT)]:
        sent.get(20)
    producer.close()
    consumer = kafka_python_consumer(topic, group_id=topic, auto_offset_reset="earliest", **conf)
    got, until = [], time.monotonic() + 20
    while len(got) < COUNT and time.monotonic() < until:
        got += [r.value.decode() for records in consumer.poll(200).values() for r in records]
    consumer.close()
    return got


@pytest.fixture(scope="module")
def franz_program(tmp_path_factory):
    program = tmp_path_factory.mktemp("franz") / "secured"
    subprocess.run([go(), "build", "-o", program, "./secured"], cwd=harness.ROOT / "tests/compat/go", check=True, timeout=300,
                   env={**os.environ, "GOTOOLCHAIN": "local", "CGO_ENABLED": "0"})
    return program


def franz(world, at, topic, program):
    env = {"CA": at.ca, "CERTIFICATE": at.pair and at.pair[0], "KEY": at.pair and at.pair[1], "MECHANISM": at.mechanism}
    env |= {"TOKEN": world.provider.token()} if at.mechanism == "OAUTHBEARER" else {"USERNAME": USER, "PASSWORD": PASSWORD}
    done = subprocess.run([program, at.address, topic, topic, str(COUNT)], capture_output=True, text=True, timeout=60, check=False,
                          env={k: v for k, v in env.items() if v})
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("client", ["java", "librdkafka", "kafka-python", "franz-go"])
def test_a_client_writes_and_reads(world, franz_program, client, setting):
    at = Setting(world, setting)
    topic = at.topic + client
    if client == "franz-go":
        got = franz(world, at, topic, franz_program)
    else:
        got = {"java": java, "librdkafka": librdkafka, "kafka-python": kafka_python}[client](world, at, topic)
    assert got == [f"{client} {i}" for i in range(COUNT)]
    assert "authentication failed" not in world.broker.errors() and "handshake failed" not in world.broker.errors(), world.broker.errors()
