"""The inference port as curl, tritonclient, gRPC reflection and health see it."""

import json
import subprocess
import threading

import grpc
import numpy
import pytest
import requests
import resources
import tritonclient.grpc
import tritonclient.http
from google.protobuf import descriptor_pool, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from harness import Millrace, wait_for


@pytest.fixture(scope="module")
def plane(tmp_path_factory, toy):
    server = Millrace(tmp_path_factory.mktemp("protocols") / "data")
    server.apply(tmp_path_factory.mktemp("yaml"), "---".join([resources.toys(toy), resources.CHAIN, resources.FAILING]))
    wait_for(lambda: requests.get(f"http://{server.infer}/v2/pipelines/chain/ready", timeout=10).status_code == 200, 30,
             lambda: f"not ready: {server.errors()}")
    yield server
    assert server.stop() == 0, server.errors()


@pytest.fixture
def channel(plane):
    with grpc.insecure_channel(plane.infer) as c:
        yield c


def test_curl_over_http1_and_http2(plane):
    body = json.dumps({"inputs": [resources.fp32([1, 2, 3, 4])]})
    for version in ("--http1.1", "--http2-prior-knowledge"):
        done = subprocess.run(["curl", "-sS", version, "-d", body, f"http://{plane.infer}/v2/pipelines/chain/infer"],
                              capture_output=True, text=True, check=True, timeout=30)
        assert json.loads(done.stdout)["outputs"][0]["data"] == [20, 30, 40, 50]


def test_the_seldon_model_header_routes(plane):
    body = {"inputs": [resources.fp32([1, 2, 3, 4])]}
    url = f"http://{plane.infer}/v2/models/whatever/infer"
    piped = requests.post(url, json=body, headers={"seldon-model": "chain.pipeline"}, timeout=10)
    direct = requests.post(url, json=body, headers={"seldon-model": "mul10"}, timeout=10)
    assert piped.json()["outputs"][0]["data"] == [20, 30, 40, 50]
    assert direct.json()["outputs"][0]["data"] == [10, 20, 30, 40]


@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient_http(plane, binary):
    client = tritonclient.http.InferenceServerClient(plane.infer)
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("mul10")
    tensor = tritonclient.http.InferInput("INPUT", [1, 4], "FP32")
    tensor.set_data_from_numpy(numpy.array([[1, 2, 3, 4]], dtype=numpy.float32), binary_data=binary)
    wanted = [tritonclient.http.InferRequestedOutput("OUTPUT", binary_data=binary)]
    result = client.infer("mul10", [tensor], outputs=wanted)
    assert result.as_numpy("OUTPUT").tolist() == [[10, 20, 30, 40]]
    client.close()


def test_tritonclient_grpc(plane):
    client = tritonclient.grpc.InferenceServerClient(plane.infer)
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("mul10")
    tensor = tritonclient.grpc.InferInput("INPUT", [1, 4], "FP32")
    tensor.set_data_from_numpy(numpy.array([[1, 2, 3, 4]], dtype=numpy.float32))
    assert client.infer("raw", [tensor]).as_numpy("INPUT").tolist() == [[1, 2, 3, 4]]
    answer = client.infer("chain", [tensor], headers={"seldon-model": "chain.pipeline"}).get_response()
    assert list(answer.outputs[0].contents.fp32_contents) == [20, 30, 40, 50]  # the model's own typed contents
    with pytest.raises(tritonclient.utils.InferenceServerException) as unknown:
        client.infer("nowhere", [tensor])
    assert "NOT_FOUND" in unknown.value.status()
    with pytest.raises(tritonclient.utils.InferenceServerException) as failed:
        client.infer("failing", [tensor], headers={"seldon-model": "failing.pipeline"})
    assert "INVALID_ARGUMENT" in failed.value.status() and "error : " in failed.value.message()


def test_bytes_tensors_travel_as_strings_and_as_binary(plane):
    client = tritonclient.http.InferenceServerClient(plane.infer)
    words = numpy.array([["grüß", "dich"]], dtype=object)
    for binary in (True, False):
        tensor = tritonclient.http.InferInput("TEXT", [1, 2], "BYTES")
        tensor.set_data_from_numpy(words, binary_data=binary)
        wanted = [tritonclient.http.InferRequestedOutput("TEXT", binary_data=True)]
        got = client.infer("echo", [tensor], outputs=wanted).as_numpy("TEXT")
        assert [w.decode() for w in got.flatten()] == ["grüß", "dich"]
    client.close()


def test_int64_is_exact_in_json(plane):
    big = 9007199254740993
    body = {"inputs": [{"name": "N", "shape": [2], "datatype": "INT64", "data": [big, -big]}]}
    answer = requests.post(f"http://{plane.infer}/v2/models/echo/infer", json=body, timeout=10)
    assert answer.json()["outputs"][0]["data"] == [big, -big]


def test_reflection_lists_the_service_and_its_messages(channel):
    database = ProtoReflectionDescriptorDatabase(channel)
    assert "inference.GRPCInferenceService" in database.get_services()
    pool = descriptor_pool.DescriptorPool(database)
    service = pool.FindServiceByName("inference.GRPCInferenceService")
    assert {"ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer"} <= set(service.methods_by_name)
    request = message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelReadyRequest"))
    response = message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelReadyResponse"))
    ask = channel.unary_unary("/inference.GRPCInferenceService/ModelReady", request_serializer=request.SerializeToString,
                              response_deserializer=response.FromString)
    assert ask(request(name="mul10"), timeout=10).ready


def test_grpc_health_answers_serving(channel):
    check = channel.unary_unary("/grpc.health.v1.Health/Check", request_serializer=bytes, response_deserializer=bytes)
    assert check(b"", timeout=10) == b"\x08\x01"


def test_a_grpc_deadline_is_kept(channel):
    call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer", request_serializer=bytes, response_deserializer=bytes)
    with pytest.raises(grpc.RpcError) as late:
        call(b"", timeout=0.1, metadata=[("seldon-model", "slow")])
    assert late.value.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.INVALID_ARGUMENT)


def test_unknown_methods_are_unimplemented(channel):
    call = channel.unary_unary("/inference.GRPCInferenceService/Nothing", request_serializer=bytes, response_deserializer=bytes)
    with pytest.raises(grpc.RpcError) as refused:
        call(b"", timeout=10)
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_metadata_and_metrics(plane):
    metadata = requests.get(f"http://{plane.infer}/v2", timeout=10).json()
    assert metadata["name"] and metadata["version"]
    body = {"inputs": [resources.fp32([1, 2, 3, 4])]}
    assert requests.post(f"http://{plane.infer}/v2/pipelines/chain/infer", json=body, timeout=10).status_code == 200
    metrics = requests.get(f"http://{plane.infer}/metrics", timeout=10).text
    lines = [line for line in metrics.splitlines() if line.startswith("seldon_pipeline_infer_total{")]
    assert any('pipeline="chain"' in line and 'code="200"' in line for line in lines), metrics


@pytest.mark.parametrize("method", ["ModelStreamInfer", "ModelDance"])
def test_a_stream_that_is_not_served_is_refused_before_anything_is_sent(channel, method):
    """Its opener may wait for an answer first, as MLServer's clients do."""
    bytes_as_they_are = {"request_serializer": bytes, "response_deserializer": bytes}
    stream = channel.stream_stream(f"/inference.GRPCInferenceService/{method}", **bytes_as_they_are)
    never = threading.Event()
    with pytest.raises(grpc.RpcError) as told:
        next(stream((never.wait(30) and b"" for _ in range(1)), timeout=20))
    assert told.value.code() == grpc.StatusCode.UNIMPLEMENTED, told.value
    assert ("Send each by ModelInfer" if method == "ModelStreamInfer" else "unknown method") in told.value.details()
    never.set()
