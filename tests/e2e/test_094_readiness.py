"""Ready is what is so now: each thing that a pipeline needs is taken away, and brought back."""

import concurrent.futures
import signal

import grpc
import pytest
import requests
import resources
from confluent_kafka.admin import AdminClient
from harness import TOY_SERVER, Process, wait_for
from test_040_pipelines import infer
from tritonclient.grpc import service_pb2, service_pb2_grpc


def asked(plane, path="pipelines/chain/ready"):
    answer = requests.get(f"http://{plane.infer}/v2/{path}", timeout=20)
    return answer.status_code, answer.text


def grpc_ready(plane, name=None):
    """ModelReady of a pipeline or model by name; ServerReady without."""
    with grpc.insecure_channel(plane.infer) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        if name is None:
            return stub.ServerReady(service_pb2.ServerReadyRequest(), timeout=20).ready
        return stub.ModelReady(service_pb2.ModelReadyRequest(name=name), timeout=20).ready


def until(plane, status, words="", path="pipelines/chain/ready"):
    return wait_for(lambda: asked(plane, path)[0] == status and words in asked(plane, path)[1], 60,
                    lambda: f"{asked(plane, path)}: {plane.errors()}")


@pytest.fixture
def plane(start, tmp_path):
    plane = start()
    plane.bootstrap = plane.kafka
    return plane


def test_a_model_server_that_is_killed_and_comes_back(plane, tmp_path):
    server = Process([TOY_SERVER], tmp_path / "own-toy.log")
    address = server.ready["infer"]
    plane.apply(tmp_path, resources.toys(address) + "---" + resources.CHAIN)
    until(plane, 200)
    assert grpc_ready(plane, "chain.pipeline") and grpc_ready(plane, "mul10") and grpc_ready(plane)
    server.kill()
    until(plane, 424, "step ")
    until(plane, 424, path="models/mul10/ready")
    assert not grpc_ready(plane, "chain.pipeline") and not grpc_ready(plane, "mul10")
    assert asked(plane, "health/ready")[0] == 200 and grpc_ready(plane)  # this process is well
    again = Process([TOY_SERVER, address], tmp_path / "own-toy.log")
    until(plane, 200)
    assert grpc_ready(plane, "chain.pipeline") and infer(plane, "chain", [resources.fp32([1])]).status_code == 200
    assert again.stop() == 0


@pytest.mark.parametrize("topic", ["pipeline.chain.inputs", "pipeline.chain.outputs", "model.mul10.outputs", "errors.errors"])
def test_a_topic_that_is_deleted_is_missed_made_again_and_no_call_is_lost_meanwhile(plane, toy, tmp_path, topic):
    plane.apply(tmp_path, resources.toys(toy) + "---" + resources.CHAIN + "---" + resources.FAILING)
    until(plane, 200)
    assert infer(plane, "chain", [resources.fp32([1])]).status_code == 200
    name = f"seldon.default.{topic}"
    admin = AdminClient({"bootstrap.servers": plane.kafka})
    admin.delete_topics([name])[name].result(30)
    gone = asked(plane)
    assert gone[0] == 200 or (gone[0] == 424 and name in gone[1]), gone
    for _ in range(5):
        assert infer(plane, "chain", [resources.fp32([1])]).status_code == 200
    assert infer(plane, "failing", [resources.fp32([1])]).status_code == 400
    until(plane, 200)
    assert name in admin.list_topics(timeout=10).topics


def test_the_bus_is_gone_and_comes_back(broker, start, toy, tmp_path):
    plane = start("--no-broker", "--bootstrap", broker.kafka, "--namespace", "elsewhere", data="plane")
    plane.apply(tmp_path, resources.toys(toy) + "---" + resources.CHAIN)
    until(plane, 200)
    broker.kill()
    until(plane, 503, "Broker not available")
    until(plane, 503, "Broker not available", "health/ready")
    assert not grpc_ready(plane) and not grpc_ready(plane, "chain.pipeline")
    again = start("--broker-only", kafka_listen=broker.kafka)
    until(plane, 200)
    assert grpc_ready(plane) and infer(plane, "chain", [resources.fp32([1])]).status_code == 200
    assert plane.stop() == 0 and again.stop() == 0


def test_a_process_that_stops_takes_nothing_new_and_answers_what_runs(plane, toy, tmp_path):
    plane.apply(tmp_path, resources.toys(toy) + "---" + resources.SLOW)
    until(plane, 200, path="pipelines/slowly/ready")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(infer, plane, "slowly", [resources.fp32([1])])
        wait_for(lambda: "millrace_gateway_in_flight 1" in requests.get(f"http://{plane.infer}/metrics", timeout=10).text, 10, "it does not run")
        plane.child.send_signal(signal.SIGTERM)

        def not_ready():
            try:
                return asked(plane, "health/ready")[0] == 503
            except requests.ConnectionError:
                return True

        wait_for(not_ready, 10, "still ready")
        assert running.result().status_code == 200
    assert plane.child.wait(10) == 0
