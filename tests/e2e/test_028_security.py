"""Listeners with TLS and SASL, users, and what they may do: real clients against our broker."""

import http.server
import json
import ssl
import subprocess
import threading
import time

import confluent_kafka
import confluent_kafka.admin
import kafka
import pytest
import requests
import security
from harness import MILLRACE, wait_for
from security import add_user, listener, sasl_conf, ssl_conf, tls

MECHANISMS = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


@pytest.fixture(scope="module")
def server_pair(authority):
    return authority.make("server")


@pytest.fixture
def secure(start, tmp_path, authority, server_pair):
    """A broker with a listener of each protocol; .kafka is open to all."""
    config = security.write_config(tmp_path / "millrace.yaml", [
        listener("kafka"),
        listener("ssl", "SSL", clientAuth="requested", principalMappingRules="RULE:^CN=([^,]*),OU=Tests.*$/$1/L,DEFAULT",
                 **tls(server_pair, authority.ca)),
        listener("mutual", "SSL", clientAuth="required", **tls(server_pair, authority.ca)),
        listener("saslssl", "SASL_SSL", sasl=MECHANISMS, **tls(server_pair)),
        listener("sasl", "SASL_PLAINTEXT", sasl=["PLAIN", "SCRAM-SHA-256"]),
    ])
    return start("--broker-only", "--config", str(config))


def round_trip(conf, topic, n=20, size=70000):
    """Large records, so that TLS has several pieces of each."""
    failures = []
    producer = confluent_kafka.Producer(conf | {"message.timeout.ms": 15000})
    for i in range(n):
        producer.produce(topic, bytes([i]) * size, str(i), on_delivery=lambda e, _: failures.append(e) if e else None)
    assert producer.flush(20) == 0 and not failures, failures
    consumer = confluent_kafka.Consumer(conf | {"group.id": "none", "enable.auto.commit": False})
    consumer.assign([confluent_kafka.TopicPartition(topic, 0, 0)])
    got = []

    def more():
        got.extend(m for m in consumer.consume(100, 0.1) if m.error() is None)
        return len(got) >= n

    wait_for(more, 20, lambda: f"{len(got)} of {n}")
    consumer.close()
    assert [m.value() for m in got] == [bytes([i]) * size for i in range(n)]


def refusal(conf, seconds=30):
    """What the client is told when it cannot get in."""
    said = []
    client = confluent_kafka.Producer(conf | {"error_cb": lambda e: said.append(e), "log_level": 0})
    wait_for(lambda: client.poll(0.1) is not None and any(e.code() != confluent_kafka.KafkaError._ALL_BROKERS_DOWN for e in said), seconds,
             "the client was told nothing")
    return " ".join(e.str() for e in said)


def test_clients_talk_through_tls(secure, authority):
    round_trip(ssl_conf(secure.ready["ssl"], authority.ca), "t")
    client = kafka.KafkaAdminClient(bootstrap_servers=secure.ready["ssl"], security_protocol="SSL", ssl_cafile=authority.ca)
    assert "t" in client.list_topics()
    client.close()


def test_a_client_that_does_not_trust_the_authority_says_so_and_so_do_we(secure, tmp_path):
    other = security.Authority(tmp_path / "other")
    assert "certificate verify failed" in refusal(ssl_conf(secure.ready["ssl"], other.ca))
    wait_for(lambda: "SSL handshake failed: tlsv1 alert unknown ca (the client does not trust this certificate: give it that of the authority" in secure.errors(), 5,
             secure.errors)
    assert secure.errors().count("tls.handshake_failed") == 1, "a client that comes back again and again is told of once"


def test_a_client_without_tls_on_a_listener_with_it_is_told_of(secure, authority):
    plain = confluent_kafka.Producer({"bootstrap.servers": secure.ready["ssl"], "log_level": 0})
    wait_for(lambda: plain.poll(0.1) is not None and "tls.handshake_failed" in secure.errors(), 10, secure.errors)
    encrypted = confluent_kafka.Producer(ssl_conf(secure.kafka, authority.ca) | {"log_level": 0})
    wait_for(lambda: encrypted.poll(0.1) is not None and "TLS on a listener without it" in secure.errors(), 10, secure.errors)


def test_a_certificate_of_the_client_is_wanted_where_it_is_required(secure, authority, tmp_path):
    pair = authority.make("alice", "/OU=Tests/CN=Alice")
    round_trip(ssl_conf(secure.ready["mutual"], authority.ca, pair), "mutual", n=3)
    refusal(ssl_conf(secure.ready["mutual"], authority.ca))
    wait_for(lambda: "peer did not return a certificate" in secure.errors(), 5, secure.errors)
    stranger = security.Authority(tmp_path / "stranger").make("mallory")
    refusal(ssl_conf(secure.ready["mutual"], authority.ca, stranger))
    wait_for(lambda: "the client's certificate" in secure.errors(), 5, secure.errors)


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_users_log_in_with_each_mechanism(secure, authority, mechanism):
    add_user(secure.kafka, "alice", "pass,word=ü")
    round_trip(sasl_conf(secure.ready["saslssl"], mechanism, "alice", "pass,word=ü", authority.ca), "t", n=5)
    assert "Authentication" in refusal(sasl_conf(secure.ready["saslssl"], mechanism, "alice", "wrong", authority.ca))
    assert "Authentication" in refusal(sasl_conf(secure.ready["saslssl"], mechanism, "nobody", "wrong", authority.ca))
    assert "SASL authentication failed" in secure.errors() and "pass,word" not in secure.errors()


def test_names_with_commas_and_equals_signs_log_in(secure):
    add_user(secure.kafka, "a,b=c", "secret")
    round_trip(sasl_conf(secure.ready["sasl"], "SCRAM-SHA-256", "a,b=c", "secret"), "t", n=1)


def test_kafka_python_logs_in(secure):
    add_user(secure.kafka, "alice", "secret")
    for mechanism in ("PLAIN", "SCRAM-SHA-256"):
        producer = kafka.KafkaProducer(bootstrap_servers=secure.ready["sasl"], security_protocol="SASL_PLAINTEXT", sasl_mechanism=mechanism,
                                       sasl_plain_username="alice", sasl_plain_password="secret")
        producer.send("t", b"x").get(20)
        producer.close()


def test_a_mechanism_that_the_listener_does_not_have_is_refused_with_those_it_has(secure):
    assert "SCRAM-SHA-512" in refusal(sasl_conf(secure.ready["sasl"], "SCRAM-SHA-512", "alice", "secret"))


def test_users_survive_kill_9_and_are_gone_when_deleted(start, tmp_path):
    config = security.write_config(tmp_path / "millrace.yaml", [listener("kafka"), listener("sasl", "SASL_PLAINTEXT", sasl=["SCRAM-SHA-256"])])
    first = start("--broker-only", "--config", str(config))
    add_user(first.kafka, "alice", "secret")
    first.kill()
    second = start("--broker-only", "--config", str(config))
    conf = sasl_conf(second.ready["sasl"], "SCRAM-SHA-256", "alice", "secret")
    round_trip(conf, "t", n=1)
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": second.kafka})
    both = [confluent_kafka.admin.UserScramCredentialDeletion("alice", m) for m in
            (confluent_kafka.admin.ScramMechanism.SCRAM_SHA_256, confluent_kafka.admin.ScramMechanism.SCRAM_SHA_512)]
    for named_twice in admin.alter_user_scram_credentials(both).values():
        with pytest.raises(confluent_kafka.KafkaException, match="DUPLICATE_RESOURCE"):  # as Apache Kafka 3.8.1
            named_twice.result(20)
    for one in both:
        for done in admin.alter_user_scram_credentials([one]).values():
            done.result(20)
    assert "Authentication" in refusal(conf)


def test_a_session_that_is_not_renewed_in_time_ends(start, tmp_path):
    """librdkafka authenticates again or comes back with a new connection: nothing that is sent is lost."""
    config = security.write_config(tmp_path / "millrace.yaml", [listener("kafka"), listener("sasl", "SASL_PLAINTEXT", sasl=["SCRAM-SHA-256"])],
                                   config={"connections.max.reauth.ms": "1500"})
    server = start("--broker-only", "--config", str(config))
    add_user(server.kafka, "alice", "secret")
    conf = sasl_conf(server.ready["sasl"], "SCRAM-SHA-256", "alice", "secret")
    producer = confluent_kafka.Producer(conf | {"message.timeout.ms": 20000, "linger.ms": 0})
    failures, until = [], time.monotonic() + 4
    while time.monotonic() < until:  # a session and a half: what is sent meanwhile arrives
        producer.produce("t", b"x", on_delivery=lambda e, _: failures.append(e) if e else None)
        producer.poll(0.05)
    assert producer.flush(20) == 0 and not failures


def test_the_certificate_is_changed_without_dropping_connections(start, tmp_path, authority):
    pair = authority.make("changing")
    config = security.write_config(tmp_path / "millrace.yaml", [listener("kafka"), listener("ssl", "SSL", **tls(pair))])
    server = start("--broker-only", "--config", str(config))
    conf = ssl_conf(server.ready["ssl"], authority.ca)
    old = confluent_kafka.Producer(conf)
    old.produce("t", b"before")
    assert old.flush(20) == 0
    other = security.Authority(tmp_path / "other")
    fresh = other.make("changing")
    for source, target in zip(fresh[::-1], pair[::-1]):  # the key first: it does not fit the certificate for a moment
        with open(source, "rb") as new, open(target, "wb") as there:
            there.write(new.read())
    wait_for(lambda: "tls.certificate_reloaded" in server.errors(), 20, server.errors)
    round_trip(ssl_conf(server.ready["ssl"], other.ca), "t2", n=1)
    old.produce("t", b"after")  # on the connection that it has
    assert old.flush(20) == 0


def test_the_metrics_say_when_the_certificate_of_a_listener_ends(start, tmp_path, authority):
    pair = authority.make("ending", days=5)
    config = security.write_config(tmp_path / "millrace.yaml", [listener("kafka"), listener("ssl", "SSL", **tls(pair))])
    server = start("--config", str(config))
    text = requests.get(f"http://{server.infer}/metrics", timeout=20).text
    found = [line.split() for line in text.splitlines() if line.startswith("millrace_tls_certificate_expiry_seconds{")]
    end = ssl.cert_time_to_seconds(subprocess.check_output(["openssl", "x509", "-in", pair[0], "-noout", "-enddate"], text=True, timeout=60).strip()[9:])
    assert [(name.partition("{")[2], float(value)) for name, value in found] == [('listener="ssl"}', end)]
    assert server.errors().count("tls.certificate_expires") == 1, "five days are left"
    assert f"file={pair[0]} ends=20" in server.errors()


def test_doctor_says_beforehand_what_a_start_refuses(tmp_path, authority):
    (crt, key), (_, other), tokens = authority.make("mine"), authority.make("another"), tmp_path / "tokens"

    def said(command, key):
        config = security.write_config(tmp_path / "millrace.yaml", [listener("kafka"), listener("ssl", "SSL", **tls((crt, str(key))))])
        more = {"security": {"gateway": {"tokens": str(tokens)}}, "gateway": {"listeners": [{"name": "infer", "listen": "127.0.0.1:0"}]}}
        config.write_text(json.dumps(json.loads(config.read_text()) | more))
        done = subprocess.run([MILLRACE, command, "--config", config, "--data", tmp_path / "data"], capture_output=True, text=True, timeout=60)
        return done.returncode, " ".join((done.stdout + done.stderr).split())

    tokens.write_text("infer somebody a-token-that-is-long-enough\n")
    for given, why in ((other, "does not belong to the certificate"), (tmp_path / "nothing", "No such file or directory")):
        rc, text = said("serve", given)
        assert rc == 1 and why in text, text
        rc, text = said("doctor", given)
        assert rc == 1 and "fail certificate broker listener ssl: " in text and why in text, text
    text = said("doctor", key)[1]
    assert "fail certificate" not in text and "ok tokens 1 of the inference port" in text, text
    tokens.write_text("boss somebody a-token-that-is-long-enough\n")
    assert said("serve", key)[0] == 1
    assert "fail tokens " in said("doctor", key)[1] and "tokens:1: " in said("doctor", key)[1]


@pytest.fixture
def issued(start, tmp_path):
    """A broker that trusts the tokens of an issuer, whose first key it knows."""
    issuer = security.Issuer(tmp_path / "issuer")
    issuer.add_key("one")
    issuer.add_key("two")
    issuer.file = tmp_path / "jwks.json"
    issuer.file.write_text(issuer.jwks("one"))
    config = security.write_config(tmp_path / "millrace.yaml", [listener("kafka"), listener("oauth", "SASL_PLAINTEXT", sasl=["OAUTHBEARER"])],
                                   oauth={"jwks": str(issuer.file), "issuer": "https://issuer.test", "audience": "kafka", "scope": "produce"})
    issuer.server = start("--broker-only", "--config", str(config))
    return issuer


def claims(**more):
    now = int(time.time())
    return {"sub": "alice", "iss": "https://issuer.test", "aud": ["other", "kafka"], "scope": "read produce", "iat": now, "exp": now + 300} | more


def with_token(issued, token, lifetime=300):
    return {"bootstrap.servers": issued.server.ready["oauth"], "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "OAUTHBEARER",
            "oauth_cb": lambda _: (token, time.time() + lifetime)}


def test_keys_are_fetched_from_where_they_are_published(start, tmp_path):
    issuer = security.Issuer(tmp_path / "issuer")
    issuer.add_key("one")
    asked = []

    class Keys(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            body = issuer.jwks().encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Keys)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    config = security.write_config(tmp_path / "millrace.yaml", [listener("kafka"), listener("oauth", "SASL_PLAINTEXT", sasl=["OAUTHBEARER"])],
                                   oauth={"jwks": f"http://127.0.0.1:{server.server_port}/keys"})
    issuer.server = start("--broker-only", "--config", str(config))
    round_trip(with_token(issuer, issuer.token("one", **claims())), "t", n=1)
    assert asked == ["/keys"], "once for all tokens"
    server.shutdown()
    round_trip(with_token(issuer, issuer.token("one", **claims())), "t2", n=1)


def settings(address):
    admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": address})
    resource = confluent_kafka.admin.ConfigResource(confluent_kafka.admin.ConfigResource.Type.BROKER, "1")
    rows = admin.describe_configs([resource], request_timeout=20)[resource].result(20)
    return {name: row.value for name, row in rows.items()}


def test_the_settings_of_the_broker_say_who_may_come_in(secure):
    shown = settings(secure.kafka)
    assert shown["sasl.enabled.mechanisms"] == "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"
    assert shown["ssl.enabled.protocols"] == "TLSv1.2,TLSv1.3" and shown["sasl.oauthbearer.jwks.endpoint.url"] is None


def test_the_settings_of_the_broker_say_whose_tokens_are_believed(issued):
    shown = settings(issued.server.kafka)
    assert shown["sasl.enabled.mechanisms"] == "OAUTHBEARER" and shown["sasl.oauthbearer.jwks.endpoint.url"] == str(issued.file)
    assert (shown["sasl.oauthbearer.expected.issuer"], shown["sasl.oauthbearer.expected.audience"]) == ("https://issuer.test", "kafka")
    assert "ssl.keystore.location" not in shown and "zookeeper.connect" not in shown


def test_tokens_of_the_issuer_are_believed(issued):
    round_trip(with_token(issued, issued.token("one", **claims())), "t", n=1)
    issued.file.write_text(issued.jwks())  # a new key: no restart
    round_trip(with_token(issued, issued.token("two", **claims())), "t2", n=1)


@pytest.mark.parametrize(("why", "change"), [
    ("expired", {"exp": 1000}), ("not good yet", {"nbf": 4000000000}), ("another issuer", {"iss": "https://other.test"}), ("another audience", {"aud": "other"}),
    ("lacks the scope", {"scope": "read"}), ("names nobody", {"sub": ""}), ("has no exp", {"exp": None}),
])
def test_tokens_that_are_not_for_us_are_refused_with_the_reason_in_the_log(issued, why, change):
    assert "invalid_token" in refusal(with_token(issued, issued.token("one", **claims(**change))))
    wait_for(lambda: why in issued.server.errors(), 10, issued.server.errors)


def test_a_token_in_bad_base64_is_refused_and_the_broker_lives(issued):
    for token in ("e=0.e30.AAAA", "eyJhbGciOiJSUzI1NiJ9.e30.A="):
        assert "invalid_token" in refusal(with_token(issued, token))
    wait_for(lambda: "the token is no signed JWT" in issued.server.errors(), 10, issued.server.errors)
    round_trip(with_token(issued, issued.token("one", **claims())), "t", n=1)


def test_tokens_that_nobody_signed_are_refused(issued):
    forged = issued.token("one", **claims()).rsplit(".", 1)[0] + ".AAAA"
    for token, why in ((issued.token("one", "none", **claims()), "none"), (issued.token("two", **claims()), "a key that is not among"),
                       (forged, "signature does not hold")):
        assert "invalid_token" in refusal(with_token(issued, token))
        wait_for(lambda why=why: why in issued.server.errors(), 10, issued.server.errors)
        assert token not in issued.server.errors()
