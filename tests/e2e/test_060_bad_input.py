"""Bad input: each gets its documented answer and is counted, and the process goes on serving."""

import contextlib
import os
import socket
import struct
import threading
import time

import pytest
import requests
import resources
from harness import Millrace, wait_for


@pytest.fixture(scope="module")
def plane(tmp_path_factory, toy):
    server = Millrace(tmp_path_factory.mktemp("bad") / "data")
    down = resources.pipeline("down", "steps:\n- name: gone\noutput:\n  steps: [gone]")
    nowhere = resources.server("127.0.0.1:1").replace("name: toy", "name: nowhere").replace("[toy]", "[nowhere]")
    server.apply(tmp_path_factory.mktemp("yaml"), "---".join(
        [resources.toys(toy), resources.CHAIN, nowhere, resources.model("gone", "nowhere"), down]))
    wait_for(lambda: requests.get(f"http://{server.infer}/v2/pipelines/chain/ready", timeout=10).status_code == 200, 30, "not ready")
    yield server
    assert server.stop() == 0, server.errors()


@pytest.fixture(autouse=True)
def it_goes_on_serving(plane):
    yield
    body = {"inputs": [resources.fp32([1, 2, 3, 4])]}
    assert requests.post(f"http://{plane.infer}/v2/pipelines/chain/infer", json=body, timeout=10).status_code == 200


def post(plane, body, path="/v2/pipelines/chain/infer", **more):
    return requests.post(f"http://{plane.infer}{path}", data=body, timeout=20, **more)


@pytest.mark.parametrize("body, words", [
    ('{"inputs":[{"name":"INPUT","shape":[1,4],"datatype":"FP32","data":[1,2,', []),
    ('{"inputs":[{"name":"INPUT","shape":[1,4],"datatype":"FP99","data":[1,2,3,4]}]}', ["INPUT", "FP99"]),
    ('{"inputs":[{"name":"INPUT","shape":[1,4],"datatype":"FP32","data":[1,2,3]}]}', ["INPUT", "4", "3"]),
    ('{"inputs":[{"name":"INPUT","shape":[1,4],"datatype":"FP32","data":[1,2,3,4,5]}]}', ["INPUT"]),
    ('{"inputs":[{"name":"INPUT","shape":[1,-4],"datatype":"FP32","data":[1,2,3,4]}]}', ["INPUT"]),
    ('{"inputs":[{"name":"INPUT","shape":[4],"datatype":"INT32","data":[1,true,"x",4]}]}', ["INPUT"]),
    ('{"inputs":[{"name":"INPUT","shape":[1],"datatype":"UINT8","data":[256]}]}', ["INPUT", "256"]),
    ("[]", []), ("", []), ("null", []), ('{"inputs":' + "[" * 100000, []),
])
def test_malformed_requests_are_400_and_say_why(plane, body, words):
    answer = post(plane, body)
    assert answer.status_code == 400, answer.text
    assert all(word in answer.json()["error"] for word in words), answer.text


def test_unknown_names_and_paths_are_404(plane):
    body = '{"inputs":[]}'
    for path in ("/v2/pipelines/nobody/infer", "/v2/models/nobody/infer", "/v3", "/v2/models/x/y/z"):
        answer = post(plane, body, path)
        assert answer.status_code == 404 and answer.json()["error"], path


def test_a_model_server_that_is_down_is_503_with_retry_after(plane):
    answer = post(plane, '{"inputs":[{"name":"INPUT","shape":[1],"datatype":"FP32","data":[1]}]}', "/v2/pipelines/down/infer")
    assert answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1
    assert "gone" in answer.json()["error"] and "127.0.0.1:1" in answer.json()["error"]


def test_a_models_internal_error_is_502(plane):
    answer = post(plane, '{"inputs":[{"name":"INPUT","shape":[1],"datatype":"FP32","data":[1]}]}', "/v2/models/internal/infer")
    assert answer.status_code == 502, answer.text


def test_http_garbage_is_answered_and_closed(plane):
    host, port = plane.infer.split(":")
    for garbage in (b"\x00\x01\x02\x03\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"POST /v2 HTTP/1.1\r\nContent-Length: -4\r\n\r\n",
                    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 64):
        with socket.create_connection((host, int(port)), timeout=20) as s:
            s.sendall(garbage)
            while s.recv(4096):
                pass


@pytest.mark.parametrize("frame", [
    struct.pack(">i", -1), struct.pack(">i", 0), struct.pack(">i", 0x7FFFFFFF), b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00",
    struct.pack(">ihhih", 10, 999, 0, 1, -1), struct.pack(">ihhih", 10, 0, 99, 1, -1),
    struct.pack(">ihhihi", 14, 3, 1, 1, -1, 0x7FFFFFFF), struct.pack(">ihhih", 10, 3, 1, 1, 300),
])
def test_kafka_garbage_closes_the_connection(plane, frame):
    host, port = plane.kafka.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as s:
        s.sendall(frame)
        s.shutdown(socket.SHUT_WR)
        assert s.recv(4096) == b""


def test_a_batch_with_a_bad_crc_is_refused_with_corrupt_message(plane):
    batch = bytearray.fromhex(
        "000000000000000000000044ffffffff0213f3c0b70000000000010000018bcfe568000000018bcfe56805"
        "ffffffffffffffffffffffffffff0000000210000000026b02760012000a02010002026801")
    batch[-1] ^= 1
    topic = b"seldon.default.pipeline.chain.inputs"
    body = struct.pack(">hhi", -1, -1, 30000) + struct.pack(">ih", 1, len(topic)) + topic
    body += struct.pack(">iii", 1, 0, len(batch)) + bytes(batch)
    request = struct.pack(">hhihs", 0, 3, 7, 1, b"c") + body
    host, port = plane.kafka.split(":")
    with socket.create_connection((host, int(port)), timeout=20) as s:
        s.sendall(struct.pack(">i", len(request)) + request)
        answer = s.recv(65536)
    at = 4 + 4 + 4 + 2 + len(topic) + 4 + 4
    assert struct.unpack(">h", answer[at:at + 2])[0] == 2


def test_bad_resources_report_every_problem_with_its_line(plane, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("""apiVersion: mlops.seldon.io/v1alpha1
kind: Pipeline
metadata: {name: bad}
spec:
  steps:
  - name: a
    inputs: [nobody]
  - name: a
  - name: b
    triggers: [ghost.outputs.X]
  output:
    steps: [missing]
""")
    done = plane.cli("apply", "-f", path, check=False)
    assert done.returncode == 1
    for words in ("nobody", "ghost", "missing", ":7", ":10", ":12"):
        assert words in done.stderr, done.stderr
    assert plane.cli("get", "pipeline", "bad", check=False).returncode == 1


def test_refusals_are_counted(plane):
    post(plane, "{")
    metrics = requests.get(f"http://{plane.infer}/metrics", timeout=10).text
    assert any('code="400"' in line and not line.endswith(" 0") for line in metrics.splitlines()), metrics


@contextlib.contextmanager
def peer_that(answer):
    """A model server that is none: accepts, reads a little, answers as told, until the test is over."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.settimeout(0.2)
        over = threading.Event()

        def serve():
            open_connections = []
            while not over.is_set():
                try:
                    connection, _ = listening.accept()
                except TimeoutError:
                    continue
                open_connections.append(connection)
                connection.settimeout(5)
                with contextlib.suppress(OSError):
                    connection.recv(65536)
                    answer(connection)
            for connection in open_connections:
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield "127.0.0.1:%d" % listening.getsockname()[1]
        over.set()
        thread.join()


def http_200(body):
    return lambda c: c.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


@pytest.mark.parametrize("protocol, answer, statuses", [
    ("address", lambda c: c.sendall(os.urandom(500)), {502, 503}),
    ("address", lambda c: c.close(), {502, 503}),
    ("address", lambda c: None, {504}),
    ("restAddress", lambda c: c.sendall(os.urandom(500)), {502, 503}),
    ("restAddress", http_200(b"{not json"), {502}),
    ("restAddress", http_200(b'{"outputs":[{"name":"X","datatype":"FP32","shape":[2],"data":[1]}]}'), {502}),
    ("restAddress", lambda c: c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort") or c.close(), {502, 503}),
    ("restAddress", lambda c: None, {504}),
])
def test_a_model_server_that_answers_garbage_or_nothing_is_named(plane, tmp_path, protocol, answer, statuses):
    with peer_that(answer) as address:
        name = "odd%d" % time.monotonic_ns()
        server = resources.server(address).replace("name: toy", f"name: {name}").replace("[toy]", f"[{name}]")
        lines = [line for line in server.splitlines() if "ddress:" not in line or f" {protocol}:" in line]
        plane.apply(tmp_path, "\n".join(lines) + "\n---" + resources.model(name, name))
        begun = time.monotonic()
        answered = post(plane, '{"inputs":[{"name":"INPUT","shape":[1],"datatype":"FP32","data":[1]}]}', f"/v2/models/{name}/infer",
                        headers={"x-request-timeout": "1.5"})
        assert answered.status_code in statuses | {504}, answered.text
        assert name in answered.json()["error"] and time.monotonic() - begun < 5, answered.text
