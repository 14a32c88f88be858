"""What security costs: TLS beside Apache Kafka 3.8.1 with the same cipher, handshakes, and access control."""

import pathlib
import socket
import ssl
import struct
import time

import security
from broker import ratio, throughput_of
from common import SCALE, WORK, Ours, Theirs, cpu_seconds, create, load, properties_of, report, target, warm_memory

CIPHER = "TLS_AES_256_GCM_SHA384"
LOADS = [(100, 2_000_000), (1024, 1_000_000), (102_400, 10_000)]
HANDSHAKES = 4000


def both(measure):
    """As broker.both(), on listeners that speak TLS only."""
    authority = security.Authority(WORK / "authority")
    pair = authority.make("server")
    conf = {"security.protocol": "SSL", "ssl.ca.location": authority.ca}
    config = security.write_config(WORK / "tls.yaml", [security.listener("kafka", "SSL", **security.tls(pair))])
    store = WORK / "kafka.pem"
    store.write_text(pkcs8(pair[1]) + pathlib.Path(pair[0]).read_text())
    properties = ("listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:SSL\n"
                  f"ssl.keystore.type=PEM\nssl.keystore.location={store}\n"
                  f"ssl.truststore.type=PEM\nssl.truststore.location={authority.ca}\n"
                  "ssl.client.auth=none\nssl.endpoint.identification.algorithm=\n")
    results = []
    for make in (lambda: Ours("--broker-only", "--config", config, conf=conf), lambda: Theirs(properties, conf=conf)):
        system = make()
        try:
            results.append(measure(system, authority.ca))
        finally:
            system.stop()
    return results


def pkcs8(key):
    """Kafka reads no other kind."""
    security.openssl("pkcs8", "-topk8", "-nocrypt", "-in", key, "-out", f"{key}.p8", cwd=WORK)
    return pathlib.Path(f"{key}.p8").read_text()


# ---- throughput ----

def throughputs(system, ca):
    with tls_connection(system, context_of(ca)) as s:
        assert s.cipher()[0] == CIPHER, s.cipher()
    create(system, "warm")
    how = properties_of(system)
    load(*how, "produce", system.address, "warm", 200_000, 1024, "1")
    load(*how, "consume", system.address, "warm", 200_000)
    return {size: throughput_of(system, size, int(count * SCALE), "all", 1) for size, count in LOADS}


def bench_tls():
    warm_memory(4 * min(SCALE, 1))
    ours, theirs = both(throughputs)
    report(f"TLS ({CIPHER}) beside Apache Kafka 3.8.1 (ours / Kafka's), acks=all", "./dev bench tls",
           [(size, ratio(a[0], b[0]), ratio(a[1], b[1], ".2f", less=True), ratio(a[2], b[2]), ratio(a[3], b[3], ".2f", less=True))
            for (size, a), b in zip(ours.items(), theirs.values())],
           ["bytes", "produce MB/s", "server CPU s/GB produced", "consume MB/s", "server CPU s/GB consumed"])
    for (size, a), b in zip(ours.items(), theirs.values()):
        for what, i in (("produce", 1), ("consume", 3)):
            target("security", f"TLS, {what} {size:,} B, MB per CPU second", f"{1000 / max(b[i], 0.01):.0f}", f"{1000 / max(a[i], 0.01):.0f}", "twice", a[i] <= b[i] / 2)


# ---- handshakes ----

def context_of(ca):
    context = ssl.create_default_context(cafile=ca)
    context.check_hostname = False
    return context


def tls_connection(system, context, session=None):
    host, port = system.address.split(":")
    return context.wrap_socket(socket.create_connection((host, int(port)), 10), session=session)


def first_session(system, context):
    """TLS 1.3 hands its tickets out after the handshake: one ApiVersions request makes sure that they were read."""
    with tls_connection(system, context) as s:
        request = struct.pack(">hhih", 18, 0, 1, -1)
        s.sendall(struct.pack(">i", len(request)) + request)
        assert s.recv(65536)
        return s.session


def handshakes(system, context, session):
    """Handshakes a CPU second of the server, handshakes a second as one client sees them, and the share that was resumed:
    a third with Apache Kafka, whose three network threads know nothing of each other's sessions."""
    n, resumed = int(HANDSHAKES * max(SCALE, 0.1)), 0
    begun, cpu = time.monotonic(), cpu_seconds(system.pid)
    for _ in range(n):
        with tls_connection(system, context, session) as s:
            resumed += s.session_reused
    seconds = time.monotonic() - begun
    used = cpu_seconds(system.pid) - cpu
    assert isinstance(system, Theirs) or resumed == (n if session else 0), f"{resumed} of {n} were resumed"
    return n / max(used, 0.01), n / seconds, resumed / n


def handshakes_of(system, ca):
    rows = {}
    for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
        context = context_of(ca)
        context.minimum_version = context.maximum_version = version
        session = first_session(system, context)
        for kind, known in (("full", None), ("resumed", session)):
            rows[f"{version.name.replace('TLSv', 'TLS ').replace('_', '.')}, {kind}"] = handshakes(system, context, known)
    return rows


def bench_handshakes():
    ours, theirs = both(handshakes_of)
    report("TLS handshakes (ECDSA P-256)", "./dev bench handshakes",
           [(what, *(f"{x[0]:.0f} ({x[1]:.0f}; {x[2]:.0%})" for x in (a, theirs[what]))) for what, a in ours.items()],
           ["what", "millrace: a CPU second of the server (a second, one Python client; resumed)", "Apache Kafka 3.8.1"])
    for what, a in ours.items():
        if "resumed" in what:
            target("security", f"handshakes a CPU second, {what}", f"{theirs[what][0]:.0f}", f"{a[0]:.0f}", "1,000", a[0] >= 1000)


# ---- access control ----

def bench_acl():
    figures = [load(n, program="acl_bench") for n in (10, 10_000, 100_000)]
    report("One decision about a produce request", "./dev bench acl", [(f"{f['entries']:,}", f"{f['ns']} ns") for f in figures], ["entries", "cost"])
    ns = figures[1]["ns"]
    target("security", "ACL check of a produce with 10,000 entries", "-", f"{ns} ns", "1 µs", ns <= 1000)


BENCHES = {"tls": bench_tls, "handshakes": bench_handshakes, "acl": bench_acl}
