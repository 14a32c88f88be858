"""Whose quota holds: users who log in, their client ids, and the defaults of both, in Kafka's order (KIP-55, KIP-546)."""

import ssl

import pytest
import requests
import security
import wire
from kafka.record.default_records import DefaultRecordBatchBuilder
from security import add_user, listener, tls
from test_029_acls import login

SPAN_S = 10  # what a rate may use up at once (quota.window.num); the newest window adds up to a second
KEY = "producer_byte_rate"


def batch(size):
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, size + 1000)
    builder.append(0, None, None, b"q" * size, [])
    return bytes(builder.build()).hex()


def entity(**parts):
    """user=None: the default of all users."""
    return [{"entity_type": {"client": "client-id"}.get(k, k), "entity_name": v} for k, v in parts.items()]


class Quotas:
    def __init__(self, server):
        self.server, self.plain = server, wire.Conn(server.kafka)
        for user in ("ann", "bob"):
            add_user(server.kafka, user, "secret")
        made = self.plain.ask("create_topics", 7, topics=[{"name": "t", "num_partitions": 1, "replication_factor": 1}], timeout_ms=20000)
        assert made["topics"][0]["error_code"] == 0

    def set(self, rate, key=KEY, **parts):
        answer = self.plain.ask("alter_client_quotas", 1, entries=[{"entity": entity(**parts), "ops": [{"key": key, "value": rate or 0, "remove": rate is None}]}])
        assert [e["error_code"] for e in answer["entries"]] == [0], answer

    def produce(self, user, client, size):
        """On a connection of its own: one that is told to be silent is not heard. For how many seconds it was told to be."""
        conn = login(self.server.ready["sasl"], user, "secret", client) if user else wire.Conn(self.server.kafka, client)
        try:
            return produce(conn, size)
        finally:
            conn.close()

    def throttled(self):
        text = requests.get(f"http://{self.server.infer}/metrics", timeout=20).text
        return next(float(line.split()[1]) for line in text.splitlines() if line.startswith("millrace_broker_throttled_requests_total"))


def produce(conn, size):
    answer = conn.ask("produce", 9, acks=1, timeout_ms=20000, topics=[{"name": "t", "partitions": [{"index": 0, "records": batch(size)}]}])
    assert answer["topics"][0]["partitions"][0]["error_code"] == 0, answer
    return answer["throttle_time_ms"] / 1000


@pytest.fixture
def quotas(start, tmp_path, authority):
    config = security.write_config(tmp_path / "millrace.yaml", [
        listener("kafka"), listener("sasl", "SASL_PLAINTEXT", sasl=["PLAIN", "SCRAM-SHA-256"]),
        listener("mutual", "SSL", clientAuth="required", principalMappingRules="RULE:^CN=([^,]*)$/$1/,DEFAULT", **tls(authority.make("server"), authority.ca))])
    return Quotas(start("--config", str(config)))


def holds(seconds, rate, used):
    """`used` bytes at `rate`: what is above it has to be waited for. A few bytes of each request are its head."""
    assert used / rate - SPAN_S - 1.1 <= seconds <= used * 1.01 / rate - SPAN_S + 0.1, f"told to be silent for {seconds} s, at {rate} a second for {used} bytes"


def test_a_rate_of_one_user_is_not_that_of_another(quotas):
    quotas.set(5000, user="ann")
    assert quotas.produce("bob", "c", 100000) == 0
    assert quotas.produce(None, "c", 100000) == 0, "nobody in particular is not ann"
    assert quotas.throttled() == 0
    holds(quotas.produce("ann", "c", 100000), 5000, 100000)
    holds(quotas.produce("ann", "another client", 50000), 5000, 150000)  # a user's clients share its rate
    assert quotas.throttled() == 2
    assert quotas.produce("bob", "c", 100000) == 0
    quotas.set(None, user="ann")
    assert quotas.produce("ann", "c", 100000) == 0


def test_the_strongest_entity_decides(quotas):
    """From the weakest on; each has another rate, and a meter of whom it speaks of: the client id, the user, or both."""
    order = [({"client": None}, "client"), ({"client": "c"}, "client"), ({"user": None}, "user"), ({"user": None, "client": None}, "both"), ({"user": None, "client": "c"}, "both"),
             ({"user": "ann"}, "user"), ({"user": "ann", "client": None}, "both"), ({"user": "ann", "client": "c"}, "both")]
    used, size = {}, 60000
    for n, (parts, meter) in enumerate(order):
        rate = 4000 - 400 * n
        quotas.set(rate, **parts)
        used[meter] = used.get(meter, 0) + size
        holds(quotas.produce("ann", "c", size), rate, used[meter])
    holds(quotas.produce("bob", "c", size), 4000 - 400 * 4, size)   # the default user with this client id
    holds(quotas.produce("bob", "d", size), 4000 - 400 * 3, size)   # the defaults of both
    holds(quotas.produce("ann", "d", size), 4000 - 400 * 6, size)   # ann with any client id
    for n, (parts, meter) in reversed(list(enumerate(order))):      # taken away again, the next one decides
        if n:
            quotas.set(None, **parts)
            parts, meter = order[n - 1]
            used[meter] += size
            holds(quotas.produce("ann", "c", size), 4000 - 400 * (n - 1), used[meter])


def test_the_name_in_a_client_certificate_is_a_user(quotas, authority):
    quotas.set(5000, user="carol")
    pair = authority.make("carol")
    context = ssl.create_default_context(cafile=authority.ca)
    context.load_cert_chain(*pair)
    conn = wire.Conn(quotas.server.ready["mutual"])
    conn.socket = context.wrap_socket(conn.socket, server_hostname="localhost")
    holds(produce(conn, 100000), 5000, 100000)
    conn.close()
