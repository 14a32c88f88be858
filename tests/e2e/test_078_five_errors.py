"""The five errors that operators search for, each provoked for real: on a data plane that serves and loses its Kafka (our own broker;
Apache Kafka 3.8.1 with --kafka), and inside one process. Each time the log says it once, the metrics count it, `millrace doctor` fails
with its name, and callers are told by REST and gRPC."""

import concurrent.futures
import contextlib
import json
import os
import socket
import struct
import subprocess
import threading

import harness
import numpy
import pytest
import requests
import resources
import security
import tritonclient.grpc as grpcclient
from harness import wait_for
from security import listener, tls
from tritonclient.utils import InferenceServerException

USER = "plane"
REQUEST = {"inputs": [resources.fp32([1, 2, 3, 4])]}
SENTENCES = {
    "broker_not_available": "Broker not available",
    "topic_metadata_refresh_timeout": "Topic metadata refresh timeout",
    "sasl_authentication_failed": "SASL authentication failed",
    "ssl_handshake_failed": "SSL handshake failed",
    "message_too_large": "Message too large",
}
METADATA = 3


class Front:
    """What clients take for the broker: a proxy before it. The target may change, connections may be cut, the whole may go away, and a
    topic may be missing in the metadata (only where the bytes can be read)."""

    def __init__(self):
        self.target, self.hidden, self.pairs, self.lock = None, None, [], threading.Lock()
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.serve()

    def serve(self):
        threading.Thread(target=self.accept, args=(self.server,), daemon=True).start()

    def accept(self, server):
        while True:
            try:
                mine = server.accept()[0]
                host, port = self.target.rsplit(":", 1)
                theirs = socket.create_connection((host, int(port)))
            except OSError:
                if server.fileno() < 0:
                    return
                mine.close()
                continue
            asked = set()
            with self.lock:
                self.pairs += [mine, theirs]
            threading.Thread(target=self.pump, args=(mine, theirs, lambda frame, asked=asked: self.ask(frame, asked)), daemon=True).start()
            threading.Thread(target=self.pump, args=(theirs, mine, lambda frame, asked=asked: self.answer(frame, asked)), daemon=True).start()

    @staticmethod
    def ask(frame, asked):
        if struct.unpack(">h", frame[4:6])[0] == METADATA:
            asked.add(frame[8:12])
        return frame

    def answer(self, frame, asked):
        if frame[4:8] in asked:
            asked.discard(frame[4:8])
            if self.hidden:
                return frame.replace(self.hidden, self.hidden[:-1] + b"~")
        return frame

    def pump(self, a, b, change):
        """By frames as long as they look like some; TLS does not."""
        data = b""
        try:
            while more := a.recv(65536):
                data += more
                while len(data) >= 4:
                    size = struct.unpack(">i", data[:4])[0]
                    if data[:1] in (b"\x14", b"\x15", b"\x16", b"\x17") and data[1:2] == b"\x03":
                        size = len(data) - 4
                    if len(data) < 4 + size:
                        break
                    b.sendall(change(data[: 4 + size]) if size >= 8 else data[: 4 + size])
                    data = data[4 + size :]
        except OSError:
            pass
        for s in (a, b):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)

    def cut(self):
        with self.lock:
            for s in self.pairs:
                with contextlib.suppress(OSError):
                    s.shutdown(socket.SHUT_RDWR)
                s.close()
            self.pairs = []

    def go(self):
        with contextlib.suppress(OSError):
            self.server.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self.server.close()
        self.cut()

    def come(self):
        self.server = socket.create_server(("127.0.0.1", self.port))
        self.serve()


class Kafka:
    """Listeners open, sasl (SCRAM-SHA-512), ssl, each behind a front; `other`: a listener whose certificate nobody should take."""

    def __init__(self, folder, kind):
        folder.mkdir()
        self.authority = security.Authority(folder / "authority")
        good, bad = self.authority.make("server"), security.Authority(folder / "strangers", "a stranger").make("server", "/CN=stranger")
        self.fronts = {name: Front() for name in ("open", "sasl", "ssl")}
        (self.ours if kind == "embedded" else self.apache)(folder, good, bad)
        for name, front in self.fronts.items():
            front.target = self.at[name]

    def ours(self, folder, good, bad):
        def behind(name, *protocol, **more):
            return listener(name, *protocol, **more, advertise=self.fronts[name].address)

        config = security.write_config(folder / "broker.yaml", [
            listener("direct"), behind("open"), behind("sasl", "SASL_PLAINTEXT", sasl=["SCRAM-SHA-512"]), behind("ssl", "SSL", **tls(good)),
            listener("other", "SSL", **tls(bad))], config={"group.initial.rebalance.delay.ms": 0})
        self.process = harness.Process([harness.MILLRACE, "serve", "--broker-only", "--data", folder / "data", "--config", config], folder / "broker.log")
        self.at = self.process.ready
        self.direct = self.at["direct"]

    def apache(self, folder, good, bad):
        for name, pair in (("good", good), ("bad", bad)):
            (folder / f"{name}.pem").write_text(open(pair[1]).read() + open(pair[0]).read())
        with contextlib.ExitStack() as held:  # released together, so that none is given twice
            taken = [held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(4)]
        self.at = {n: f"127.0.0.1:{p}" for n, p in zip(("open", "sasl", "ssl", "other"), taken)}
        names = {"open": "PLAINTEXT", "sasl": "SASL_PLAINTEXT", "ssl": "SSL", "other": "SSL"}
        more = ["listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT," + ",".join(f"{n.upper()}:{p}" for n, p in names.items()),
                "sasl.enabled.mechanisms=SCRAM-SHA-512",
                "listener.name.sasl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;"]
        for name, pem in (("ssl", "good"), ("other", "bad")):
            more += [f"listener.name.{name}.ssl.keystore.type=PEM", f"listener.name.{name}.ssl.keystore.location={folder / pem}.pem"]
        told = {n: self.fronts[n].address if n in self.fronts else a for n, a in self.at.items()}
        self.process = harness.Kafka381(folder / "kafka", properties="\n".join(more) + "\n", listeners={n: (a, told[n]) for n, a in self.at.items()})
        self.direct = self.process.address


@pytest.fixture(scope="module")
def kafka(bus_kind, tmp_path_factory):
    made = Kafka(tmp_path_factory.mktemp("five") / bus_kind, bus_kind)
    yield made
    assert made.process.stop() in (0, None)


class Plane:
    """A data plane with a pipeline that answers; `config` is what doctor reads, too."""

    def __init__(self, start, tmp_path, toy, front, security_kafka, *options, **kafka):
        self.config = tmp_path / "plane.yaml"
        self.config.write_text(json.dumps({"kafka": {"bootstrap": front.address, **kafka}, "security": {"kafka": security_kafka}, "namespace": "five" + os.urandom(3).hex()}))
        self.server = start("--no-broker", "--config", self.config, *options)
        self.server.apply(tmp_path, "---".join([resources.toys(toy), resources.CHAIN]))
        wait_for(lambda: self.rest().status_code == 200, 40, self.server.errors)

    def rest(self, name="chain", body=None):
        return requests.post(f"http://{self.server.infer}/v2/pipelines/{name}/infer", headers={"x-request-timeout": "2"}, timeout=40, json=body or REQUEST)

    def grpc(self, name="chain", body=None):
        """The status and words that an official client gets."""
        tensor = (body or REQUEST)["inputs"][0]
        value = grpcclient.InferInput(tensor["name"], tensor["shape"], "FP32")
        value.set_data_from_numpy(numpy.array(tensor["data"], dtype=numpy.float32).reshape(tensor["shape"]))
        with grpcclient.InferenceServerClient(self.server.infer) as client, pytest.raises(InferenceServerException) as refusal:
            client.infer(f"{name}.pipeline", [value], headers={"x-request-timeout": "2"}, client_timeout=30)
        return f"{refusal.value.status()} {refusal.value.message()}"


def doctor(*options, server):
    done = subprocess.run([harness.MILLRACE, "doctor", *map(str, options), "--server", server, "--output", "json"], capture_output=True, text=True, timeout=60)
    found = json.loads(done.stdout)
    assert (done.returncode == 1) == (found["verdict"] == "fail"), done.stdout
    return done.returncode, {c["error"]: c for c in found["checks"] if "error" in c and c["verdict"] == "fail"}, found


def said_everywhere(plane, kind, status, code, name="chain", body=None, config=(), lines_max=4):
    """The sentence in the caller's answer, the log (once), the metrics and doctor."""
    sentence, server = SENTENCES[kind], plane.server
    seen = []

    def answered():
        seen.append(plane.rest(name, body))
        return sentence in seen[-1].text and seen[-1].status_code == status

    wait_for(answered, 30, lambda: f"{seen[-1].status_code} {seen[-1].text} {server.errors()}")
    assert {a.status_code for a in seen} <= {status, 504, 200}, seen
    assert (seen[-1].status_code, list(seen[-1].json())) == (status, ["error"]), seen[-1].text
    words = plane.grpc(name, body)
    assert code in words and sentence in words, words
    lines = [line for line in server.log.read_text().splitlines() if "event=kafka.trouble" in line and f"trouble={kind}" in line]
    assert lines and len(lines) == len({line.split("remedy=")[1].split(" times=")[0] for line in lines}) <= 2, lines  # once, for each cause
    flood = [line for line in server.log.read_text().splitlines() if "event=kafka.client" in line]
    assert len(flood) <= lines_max, flood
    metrics = requests.get(f"http://{server.infer}/metrics", timeout=20).text
    counted = [line for line in metrics.splitlines() if line.startswith("millrace_kafka_troubles_total") and kind in line]
    assert len(counted) == 1 and float(counted[0].split()[-1]) >= 1, counted
    exit_status, failed, found = doctor(*(config or ("--no-broker", "--config", plane.config)), server=server.infer)
    assert exit_status == 1 and kind in failed, found
    assert sentence in failed[kind]["text"] and failed[kind]["remedy"], found


def answers_again(plane):
    """Soon after what was wrong is right: the broker has not locked the address out, and nobody waits long before connecting again."""
    wait_for(lambda: plane.rest().status_code == 200, 15, plane.server.errors)


def test_a_broker_that_is_not_there(start, tmp_path, toy, kafka):
    front = kafka.fronts["open"]
    plane = Plane(start, tmp_path, toy, front, {})
    status, failed, found = doctor("--no-broker", "--config", plane.config, server=plane.server.infer)
    assert (status, failed) == (0, {}), found
    names = [c["check"] for c in found["checks"]]
    assert {"clock", "kafka", "round trip", "topic settings", "process", "model server", "message size"} <= set(names), names
    front.go()
    try:
        said_everywhere(plane, "broker_not_available", 503, "UNAVAILABLE")
        refusal = plane.rest()
        assert (refusal.status_code, refusal.headers["retry-after"]) == (503, "1"), refusal.headers
        assert refusal.elapsed.total_seconds() < 1, refusal.elapsed  # it waits for nothing: its deadline is two seconds away
    finally:
        front.come()
    answers_again(plane)


def test_a_broker_that_is_away_for_a_moment_costs_nobody_an_answer(start, tmp_path, toy, kafka):
    front = kafka.fronts["open"]
    plane = Plane(start, tmp_path, toy, front, {})
    infer = f"http://{plane.server.infer}/v2/pipelines/chain/infer"
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        front.go()
        try:
            asked = [pool.submit(requests.post, infer, headers={"x-request-timeout": "20"}, timeout=40, json=REQUEST)]
            wait_for(lambda: requests.get(f"http://{plane.server.infer}/v2/health/ready", timeout=20).status_code == 503, 20, plane.server.errors)
            asked.append(pool.submit(requests.post, infer, headers={"x-request-timeout": "20"}, timeout=40, json=REQUEST))
            wait_for(lambda: "millrace_gateway_in_flight 2" in requests.get(f"http://{plane.server.infer}/metrics", timeout=10).text, 10, plane.server.errors)
        finally:
            front.come()
        assert [a.result().status_code for a in asked] == [200, 200], [a.result().text for a in asked]


def test_a_password_that_was_changed(start, tmp_path, toy, kafka):
    def password(text, command):
        done = subprocess.run([harness.MILLRACE, "user", command, USER, "--bootstrap", kafka.direct, "--password", "@-"], input=text, text=True, timeout=60)
        assert done.returncode == 0

    password("first", "add")
    (tmp_path / "password").write_text("first\n")
    front = kafka.fronts["sasl"]
    plane = Plane(start, tmp_path, toy, front, {"protocol": "SASL_PLAINTEXT", "sasl": {"client": {"username": USER, "passwordPath": str(tmp_path / "password")}}})
    password("second", "set-password")
    front.cut()
    said_everywhere(plane, "sasl_authentication_failed", 503, "UNAVAILABLE")
    (tmp_path / "password").write_text("second\n")
    answers_again(plane)
    said = plane.server.log.read_text()
    assert "first" not in said and "second" not in said


def test_a_certificate_of_somebody_else(start, tmp_path, toy, kafka):
    front = kafka.fronts["ssl"]
    plane = Plane(start, tmp_path, toy, front, {"protocol": "SSL", "ssl": {"client": {"brokerCaPath": kafka.authority.ca}}})
    right = front.target
    front.go()
    front.target = kafka.at["other"]
    front.come()
    try:
        said_everywhere(plane, "ssl_handshake_failed", 503, "UNAVAILABLE")
        told = [line for line in plane.server.log.read_text().splitlines() if "event=kafka.trouble trouble=ssl" in line]
        assert any("CN=stranger for localhost, 127.0.0.1" in t and "signed by CN=a stranger" in t and "good from 20" in t for t in told), told
    finally:
        front.target = right
        front.cut()
    answers_again(plane)


def test_a_topic_that_the_metadata_does_not_name(start, tmp_path, toy, kafka):
    front = kafka.fronts["open"]
    plane = Plane(start, tmp_path, toy, front, {}, consumer={"topicMetadataPropagationMaxMs": 500})
    front.hidden = b"pipeline.latecomer.inputs"
    try:
        plane.server.cli("apply", "-f", "-", stdin=resources.CHAIN.replace("chain", "latecomer"), check=False)
        said_everywhere(plane, "topic_metadata_refresh_timeout", 503, "UNAVAILABLE", name="latecomer")
    finally:
        front.hidden = None


def test_a_message_that_is_too_large_is_refused_before_it_travels(start, tmp_path, toy, kafka):
    plane = Plane(start, tmp_path, toy, kafka.fronts["open"], {}, producer={"messageMaxBytes": 100000})
    before = ends(plane.server)
    said_everywhere(plane, "message_too_large", 413, "RESOURCE_EXHAUSTED", body={"inputs": [resources.fp32([1] * 50000)]})
    assert ends(plane.server) == before


def test_a_message_that_the_topic_does_not_take(start, tmp_path, toy, kafka):
    """Which only the broker knows: it travels, is refused, and the caller is told."""
    small = {"config": {"max.message.bytes": "100000"}}
    plane = Plane(start, tmp_path, toy, kafka.fronts["open"], {}, topics=small)
    said_everywhere(plane, "message_too_large", 413, "RESOURCE_EXHAUSTED", body={"inputs": [resources.fp32([1] * 50000)]})


def ends(server):
    found = json.loads(server.cli("topic", "list", "--all", "-o", "json").stdout)["topics"]
    return {t["topic"] if "topic" in t else t["name"]: [p["end"] for p in t["partitions"]] for t in found if ".chain." in json.dumps(t)}


def test_inside_one_process(start, tmp_path, toy, bus_kind):
    """The embedded broker is always there, as long as the process is; its limits and its clients' mistakes are told alike."""
    if bus_kind != "embedded":
        return
    authority = security.Authority(tmp_path / "authority")
    data = tmp_path / "data"
    listeners = [listener("kafka"), listener("asks", "SASL_PLAINTEXT", sasl=["SCRAM-SHA-512"]), listener("shows", "SSL", **tls(authority.make("server")))]
    config = tmp_path / "c.json"
    config.write_text(json.dumps({"broker": {"listeners": listeners}, "kafka": {"producer": {"messageMaxBytes": 100000}}}))
    plane = Plane.__new__(Plane)
    plane.server = start("--config", config)
    plane.server.apply(tmp_path, "---".join([resources.toys(toy), resources.CHAIN]))
    wait_for(lambda: plane.rest().status_code == 200, 40, plane.server.errors)
    before = ends(plane.server)
    said_everywhere(plane, "message_too_large", 413, "RESOURCE_EXHAUSTED", body={"inputs": [resources.fp32([1] * 50000)]}, config=("--config", config, "--data", data))
    assert ends(plane.server) == before
    for name, event, sentence, metric in (("asks", "sasl.authentication_failed", "SASL authentication failed", "millrace_logins_failed_total"),
                                          ("shows", "tls.handshake_failed", "SSL handshake failed", "millrace_tls_handshakes_failed_total")):
        for _ in range(3):
            properties = tmp_path / "client.properties"
            properties.write_text("security.protocol=SASL_PLAINTEXT\nsasl.mechanism=SCRAM-SHA-512\nsasl.username=nobody\nsasl.password=x\n" if name == "asks"
                                  else f"security.protocol=SSL\nssl.ca.location={security.Authority(tmp_path / 'other').ca}\n")
            done = subprocess.run([harness.MILLRACE, "user", "list", "--bootstrap", plane.server.ready[name], "--command-config", properties], capture_output=True,
                                  text=True, timeout=60)
            assert done.returncode == 1 and sentence in done.stderr, done.stderr
            assert ("sasl.username" if name == "asks" else "ssl.ca.location") in done.stderr and "security.kafka" not in done.stderr, done.stderr
        lines = [line for line in plane.server.log.read_text().splitlines() if f"event={event}" in line]
        assert len(lines) == 1 and sentence in lines[0], plane.server.errors()
        wait_for(lambda metric=metric: f"{metric} 3" in requests.get(f"http://{plane.server.infer}/metrics", timeout=20).text, 10, metric)
    infer = plane.server.infer
    plane.server.stop()
    status, failed, found = doctor("--config", config, "--data", data, server=infer)
    assert status == 1 and "Broker not available" in failed["broker_not_available"]["text"], found
