"""Back-pressure: calls to a model are counted, queues have ceilings, what is too much is said with a time to wait, and one slow model
leaves the others alone."""

import concurrent.futures
import http.server
import json
import threading
import time

import confluent_kafka
import grpc
import pytest
import requests
import resources
from harness import wait_for
from test_040_pipelines import infer, read_topic
from test_093_beside_the_original import request
from tritonclient.grpc import service_pb2, service_pb2_grpc


class Hanging(http.server.ThreadingHTTPServer):
    """A V2 model server (REST) whose models answer when they are let: counts the calls it has at once."""

    daemon_threads, request_queue_size = True, 256

    def __init__(self):
        self.lock, self.now, self.most, self.calls, self.open = threading.Lock(), 0, 0, 0, threading.Event()
        super().__init__(("127.0.0.1", 0), Hung)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()


class Hung(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer({})

    def do_POST(self):
        server, asked = self.server, json.loads(self.rfile.read(int(self.headers["content-length"])))
        with server.lock:
            server.now, server.calls = server.now + 1, server.calls + 1
            server.most = max(server.most, server.now)
        server.open.wait(60)
        with server.lock:
            server.now -= 1
        self.answer({"model_name": "hang", "outputs": asked["inputs"]})


@pytest.fixture
def hanging():
    server = Hanging()
    yield server
    server.open.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def serve(start, toy, hanging, tmp_path):
    """serve(*options): the toy models, and hang, hang2, hang3 on a server of their own, each behind a pipeline of its own."""

    def run(*options):
        plane = start(*options)
        plane.bootstrap, plane.namespace = plane.kafka, "default"
        own = resources.server(toy).replace("{name: toy}", "{name: hanging}").replace("[toy]", "[hanging]")
        own = own.replace(f"  address: {toy}\n", "").replace(f"restAddress: {toy}", f"restAddress: 127.0.0.1:{hanging.server_port}")
        names = ["hang", "hang2", "hang3"]
        plane.apply(tmp_path, "---".join([resources.toys(toy), own, resources.CHAIN, *(resources.model(n, "hanging") for n in names),
                                          *(resources.pipeline(f"p-{n}", f"steps: [{{name: {n}}}]\noutput: {{steps: [{n}]}}") for n in names)]))
        wait_for(lambda: requests.get(f"http://{plane.infer}/v2/pipelines/chain/ready", timeout=10).status_code == 200, 30, plane.errors)
        return plane

    return run


def call(plane, name="p-hang"):
    return infer(plane, name, [resources.fp32([1])], timeout=60)


def metric(plane, name):
    lines = requests.get(f"http://{plane.infer}/metrics", timeout=10).text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((name + " ", name + "{")))


@pytest.mark.parametrize("most", [1, 3])
def test_a_model_gets_no_more_calls_at_once_than_it_may_whatever_the_threads(serve, hanging, most):
    plane = serve("--gateway.modelServer.concurrency", most, "--gateway.threads", 4)
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        running = [pool.submit(call, plane) for _ in range(12)]
        wait_for(lambda: metric(plane, "millrace_runs") == 12, 20, "they do not run")
        wait_for(lambda: hanging.now == most or hanging.now > 0 and hanging.now == hanging.most, 10, "no calls")
        assert call(plane, "chain").status_code == 200
        hanging.open.set()
        assert [r.result().status_code for r in running] == [200] * 12
    assert hanging.most <= most and hanging.calls == 12


def test_slow_models_leave_room_for_others_and_say_when_to_come_again(serve, hanging):
    plane = serve("--gateway.inFlightMax", 40, "--gateway.threads", 1)
    with concurrent.futures.ThreadPoolExecutor(150) as pool:
        running = [pool.submit(call, plane, name) for name in ("p-hang", "p-hang2", "p-hang3") * 50]
        wait_for(lambda: sum(r.done() for r in running) >= 110, 40, lambda: str(sum(r.done() for r in running)))
        refused = [r.result() for r in running if r.done()]
        assert {r.status_code for r in refused} == {429}
        assert all(int(r.headers["retry-after"]) >= 1 for r in refused)
        assert any("the rest is for others" in r.json()["error"] for r in refused), refused[0].text
        assert metric(plane, "millrace_runs") < 40
        times = []
        for _ in range(100):  # the others do not notice
            begun = time.monotonic()
            assert call(plane, "chain").status_code == 200
            times.append(time.monotonic() - begun)
        assert sorted(times)[50] < 0.5
        with grpc.insecure_channel(plane.infer) as channel:
            message = service_pb2.ModelInferRequest.FromString(request(1))
            message.model_name = "p-hang.pipeline"
            with pytest.raises(grpc.RpcError) as raised:
                service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(message, timeout=30)
            assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            told = dict([*raised.value.trailing_metadata(), *raised.value.initial_metadata()])
            assert int(told["retry-after"]) >= 1, told
        hanging.open.set()
        assert [r.result().status_code for r in running].count(200) == 150 - len(refused)
    assert metric(plane, "millrace_runs") == 0 and call(plane).status_code == 200


def test_records_of_a_slow_pipeline_leave_room_for_those_of_others(serve, hanging):
    plane = serve("--gateway.inFlightMax", 40, "--gateway.threads", 1)
    producer = confluent_kafka.Producer({"bootstrap.servers": plane.kafka})
    for i in range(200):
        producer.produce("seldon.default.pipeline.p-hang.inputs", request(i), f"0.p-hang.{i}")
    assert producer.flush(30) == 0
    wait_for(lambda: hanging.now >= 10, 30, lambda: f"{hanging.now}: {plane.errors()}")
    for i in range(20):
        producer.produce("seldon.default.pipeline.chain.inputs", request(i), f"0.chain.{i}")
    assert producer.flush(30) == 0
    assert len(read_topic(plane, "pipeline.chain.outputs", at_least=20)) == 20
    assert call(plane, "chain").status_code == 200
    hanging.open.set()
    assert len(read_topic(plane, "pipeline.p-hang.outputs", at_least=200, seconds=60)) == 200
