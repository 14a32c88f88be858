"""Values with a Confluent schema registry's prefix: registered, tagged, read back; and a registry that is down, refuses or hangs.

The registry here is a few lines of Python that fail on demand; tests/e2e/slow/test_schema_registry.py has franz-go's.
"""

import base64
import contextlib
import http.server
import json
import re
import ssl
import subprocess
import threading
import time

import confluent_kafka
import pytest
import requests
import resources
from harness import MILLRACE, wait_for
from test_040_pipelines import infer, read_topic
from tritonclient.grpc import service_pb2

USER = "Basic " + base64.b64encode(b"reg:s3cret").decode()


class Registry(http.server.ThreadingHTTPServer):
    """POST /subjects/X/versions gives ids from 100001 on, one for each schema; `how` says what to do instead."""

    daemon_threads = True

    def __init__(self, port=0, auth=None):
        self.how, self.auth, self.asked, self.subjects, self.ids, self.held = "well", auth, [], {}, {}, threading.Event()
        super().__init__(("127.0.0.1", port), Answer)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def end(self):
        self.held.set()
        self.shutdown()
        self.server_close()


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, value):
        body = json.dumps(value).encode()
        with contextlib.suppress(OSError):
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def handle_any(self):
        registry, body = self.server, self.rfile.read(int(self.headers.get("content-length", 0)))
        registry.asked.append(f"{self.command} {self.path}")
        if registry.how == "hang":
            registry.held.wait(60)
        if registry.auth and self.headers.get("authorization") != registry.auth:
            return self.answer(401, {"error_code": 40101, "message": "who are you?"})
        if registry.how == "broken":
            return self.answer(503, {"error_code": 50003, "message": "no leader"})
        if registry.how == "incompatible":
            return self.answer(409, {"error_code": 409, "message": "another schema"})
        subject = re.fullmatch(r"/subjects/([^/?]+)(/versions\?normalize=true|\?permanent=true)?", self.path)
        if not subject:
            return self.answer(200, {"compatibilityLevel": "BACKWARD"})
        if self.command == "DELETE":
            return self.answer(*((200, [1]) if registry.subjects.pop(subject[1], None) or "permanent" in self.path
                                 else (404, {"error_code": 40401, "message": "no such subject"})))
        schema = json.loads(body)
        assert schema["schemaType"] == "PROTOBUF"
        registry.subjects[subject[1]] = registry.ids.setdefault(schema["schema"], 100001 + len(registry.ids))
        return self.answer(200, {"id": registry.subjects[subject[1]]})

    do_GET = do_POST = do_DELETE = handle_any


@pytest.fixture
def registry():
    made = []

    def make(**options):
        made.append(Registry(**options))
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture
def serve(start, toy, tmp_path):
    """serve(url, text, …): a millrace with this registry and these resources beside the toy models."""

    def run(url, *texts, more="", data="data", options=()):
        folder = tmp_path / "registry"
        folder.mkdir(exist_ok=True)
        (folder / ".confluent-schema.yaml").write_text(f"schemaRegistry:\n  client:\n    URL: {url}\n{more}")
        plane = start(*options, data=data, env={"SCHEMA_REGISTRY_CONFIG_PATH": str(folder)})
        plane.bootstrap, plane.namespace = plane.kafka, "default"
        if texts:
            plane.apply(tmp_path, "---".join([resources.toys(toy), *texts]))
        return plane

    return run


def values(plane, *topics):
    return [m.value() for t in topics for m in read_topic(plane, t)]


def metric(plane, name):
    found = re.search(rf"^{name} (\S+)$", requests.get(f"http://{plane.infer}/metrics", timeout=10).text, re.M)
    return float(found[1]) if found else 0


def tag(number):
    return b"\0" + number.to_bytes(4, "big") + b"\0"


def test_values_are_registered_and_tagged_but_not_errors(serve, registry):
    there = registry(auth=USER)
    plane = serve(there.url + "/", resources.CHAIN, resources.FAILING, more="    username: reg\n    password: s3cret\n")
    assert infer(plane, "chain", [resources.fp32([1, 2])]).json()["outputs"][0]["data"] == [20, 30]
    assert infer(plane, "failing", [resources.fp32([1])]).status_code == 400
    topics = ["pipeline.chain.inputs", "model.mul10.inputs", "model.mul10.outputs", "model.add10.outputs", "pipeline.chain.outputs"]
    for name in topics:
        number = there.subjects[f"seldon.default.{name}-value"]
        assert all(v.startswith(tag(number)) for v in values(plane, name)), name
    (out,) = values(plane, "pipeline.chain.outputs")
    assert service_pb2.ModelInferResponse.FromString(out[6:]).outputs[0].name == "OUTPUT"
    for error in values(plane, "errors.errors", "pipeline.failing.outputs"):
        assert error.startswith(b"rpc error: code ="), error
    assert "seldon.default.errors.errors-value" not in there.subjects
    inspected = json.loads(plane.cli("inspect", "chain.mul10.outputs", "--output", "json").stdout)
    assert "'kind': 'response'" in str(inspected) and "'name': 'OUTPUT'" in str(inspected), inspected
    replayed = json.loads(plane.cli("replay", "chain", "--into", "chain", "--output", "json").stdout)
    assert (replayed["requests"], replayed["answered"]) == (1, 1), replayed
    assert metric(plane, "millrace_records_untagged_total") == 0


def test_a_crash_and_idempotency_keys_read_tagged_records(serve, registry, start):
    there = registry()
    plane = serve(there.url, resources.CHAIN)
    first = infer(plane, "chain", [resources.fp32([4])], {"idempotency-key": "k"})
    again = infer(plane, "chain", [resources.fp32([4])], {"idempotency-key": "k"})
    assert first.json()["outputs"] == again.json()["outputs"] and len(values(plane, "pipeline.chain.outputs")) == 1
    plane.kill()
    plane = serve(there.url)
    kept = infer(plane, "chain", [resources.fp32([4])], {"idempotency-key": "k"})
    assert kept.json()["outputs"] == first.json()["outputs"] and len(values(plane, "pipeline.chain.outputs")) == 1


def request(value):
    message = service_pb2.ModelInferRequest()
    tensor = message.inputs.add(name="INPUT", datatype="FP32", shape=[1, 1])
    tensor.contents.fp32_contents.append(value)
    return message.SerializeToString()


def test_records_of_others_with_a_prefix_are_run_with_or_without_a_registry(loaded_without, tmp_path):
    plane = loaded_without
    producer = confluent_kafka.Producer({"bootstrap.servers": plane.kafka})
    older = b"\0" + (7).to_bytes(4, "big") + b"\2\0"  # "the first message" as older serializers write it
    second = b"\0" + (7).to_bytes(4, "big") + b"\2\2"
    for n, prefix in enumerate([tag(9), older, second, tag(9)]):
        producer.produce("seldon.default.pipeline.chain.inputs", prefix + request(n), key=f"0.chain.r{n}")
    producer.produce("seldon.default.model.mul10.inputs", tag(9) + request(5), key="0.mul10.m")
    assert producer.flush(30) == 0
    wait_for(lambda: len(values(plane, "pipeline.chain.outputs")) == 4, 30, lambda: plane.errors())
    outcomes = {m.key(): m.value() for m in read_topic(plane, "pipeline.chain.outputs")}
    assert b"another message of its schema" in outcomes[b"0.chain.r2"]
    for n in (0, 1, 3):
        answer = service_pb2.ModelInferResponse.FromString(outcomes[f"0.chain.r{n}".encode()])
        assert list(answer.outputs[0].contents.fp32_contents) == [10 * n + 10]
    wait_for(lambda: b"0.mul10.m" in [m.key() for m in read_topic(plane, "model.mul10.outputs")], 30, plane.errors)


@pytest.fixture
def loaded_without(start, toy, tmp_path):
    plane = start()
    plane.bootstrap, plane.namespace = plane.kafka, "default"
    plane.apply(tmp_path, "---".join([resources.toys(toy), resources.CHAIN]))
    ready = f"http://{plane.infer}/v2/pipelines/chain/ready"
    wait_for(lambda: requests.get(ready, timeout=10).status_code == 200, 30, plane.errors)
    return plane


def test_a_registry_that_is_down_stops_nothing_is_said_and_comes_back(serve, registry):
    gone = registry()
    port = gone.server_port
    gone.end()
    plane = serve(f"http://127.0.0.1:{port}", resources.CHAIN)
    assert infer(plane, "chain", [resources.fp32([1])]).status_code == 200
    assert not any(v.startswith(b"\0") for v in values(plane, "pipeline.chain.inputs", "pipeline.chain.outputs"))
    assert metric(plane, "millrace_records_untagged_total") >= 2 and metric(plane, "millrace_schema_failures_total") >= 2
    said = plane.errors()
    assert "registry.unavailable" in said and "cannot be reached" in said and ".confluent-schema.yaml" in said
    there = registry(port=port)
    wait_for(lambda: len(there.subjects) == 24, 60, lambda: plane.errors())  # eleven models and a pipeline, both sides

    def tagged():
        assert infer(plane, "chain", [resources.fp32([1])]).status_code == 200
        return values(plane, "pipeline.chain.inputs")[-1].startswith(tag(there.subjects["seldon.default.pipeline.chain.inputs-value"]))

    wait_for(tagged, 30, lambda: plane.errors())
    assert "registry.back" in plane.errors()


def test_a_registry_that_hangs_delays_a_new_pipeline_by_seconds_and_the_end_not_at_all(serve, registry):
    stuck = registry()
    stuck.how = "hang"
    begun = time.monotonic()
    plane = serve(stuck.url, resources.CHAIN)
    assert infer(plane, "chain", [resources.fp32([1])]).status_code == 200
    assert time.monotonic() - begun < 10
    begun = time.monotonic()
    assert plane.stop() == 0
    assert time.monotonic() - begun < 4


@pytest.mark.parametrize("how, words", [("broken", "answers 503: no leader"), ("incompatible", "incompatible schema"), ("auth", "check username")])
def test_a_registry_that_refuses_is_said_and_records_go_on(serve, registry, how, words):
    there = registry(auth=USER if how == "auth" else None)
    there.how = how
    plane = serve(there.url, resources.CHAIN)
    assert infer(plane, "chain", [resources.fp32([1])]).status_code == 200
    assert words in plane.errors()
    assert "s3cret" not in plane.errors()
    assert metric(plane, "millrace_records_untagged_total") >= 2


def test_subjects_go_with_topics_that_are_cleaned_and_only_then(serve, registry):
    there = registry()
    cleaned = resources.CHAIN + "  dataflow: {cleanTopicsOnDelete: true}\n"
    plane = serve(there.url, cleaned, resources.FAILING)
    for name in ("chain", "failing"):
        infer(plane, name, [resources.fp32([1])])
        plane.cli("delete", "pipeline", name)
    wait_for(lambda: len([a for a in there.asked if a.endswith("?permanent=true")]) == 2, 30, lambda: str(there.asked))
    assert not [s for s in there.subjects if ".chain." in s]
    assert len([s for s in there.subjects if ".failing." in s]) == 2
    deleted = [a for a in there.asked if a.startswith("DELETE")]
    for side in ("inputs", "outputs"):
        path = f"DELETE /subjects/seldon.default.pipeline.chain.{side}-value"
        assert deleted.index(path) < deleted.index(path + "?permanent=true")
    assert not [d for d in deleted if ".chain." not in d], deleted


def test_https_is_checked_against_the_authority_of_the_file(serve, registry, tmp_path):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext",
                    "subjectAltName=IP:127.0.0.1", "-keyout", tmp_path / "key.pem", "-out", tmp_path / "ca.pem"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "ca.pem", tmp_path / "key.pem")
    there = registry()
    there.socket = context.wrap_socket(there.socket, server_side=True)
    url = there.url.replace("http://", "https://")
    plane = serve(url, resources.CHAIN, data="untrusted")
    assert infer(plane, "chain", [resources.fp32([1])]).status_code == 200
    assert "is not trusted" in plane.errors() and not there.subjects
    assert plane.stop() == 0
    plane = serve(url, resources.CHAIN, more="    caPath: ../ca.pem\n", data="trusted")
    assert infer(plane, "chain", [resources.fp32([1])]).status_code == 200
    assert values(plane, "pipeline.chain.inputs")[-1].startswith(b"\0") and there.subjects


@pytest.mark.parametrize("text, words", [
    (None, "No such file"),
    ("schemaRegistry: {client: {username: x}}", "client.URL: http://HOST:PORT"),
    ("schemaRegistry: {client: {URL: 'ftp://x'}}", "client.URL: http://HOST:PORT"),
    ("schemaRegistry: {client: {URL: 'http://x:1', passwort: y}}", "passwort"),
    ("schemaRegistry: {client: {URL: 'http://x:1', caPath: nowhere.pem}}", "nowhere.pem cannot be read"),
])
def test_a_wrong_file_is_refused_at_the_start_with_its_place(tmp_path, text, words):
    if text:
        (tmp_path / ".confluent-schema.yaml").write_text(text)
    done = subprocess.run([MILLRACE, "serve", "--data", tmp_path / "d", "--security.schemaRegistry.configPath", tmp_path], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2 and words in done.stderr and ".confluent-schema.yaml" in done.stderr, done.stderr
