"""Models of the built-in runtime: what callers send wrong is theirs, what is wrong with the file is said at once and goes
away by itself when the file is put right."""

import json
import pathlib
import shutil

import pytest
import requests
import resources
import tritonclient.grpc as grpcclient
from harness import ROOT, wait_for
from tritonclient.utils import InferenceServerException

TRAINED = ROOT / "samples/tumour/models/tumour-mean.json"                # ten features a row


def model(name, path):
    return resources.model(name, "xgboost", storageUri=path)


def infer(server, tensor, path="/v2/models/mean/infer"):
    return requests.post(f"http://{server.infer}{path}", json={"inputs": [tensor]}, timeout=20)


def tensor(columns, name="MEAN", datatype="FP32", **more):
    return {"name": name, "shape": [1, columns], "datatype": datatype, "data": [1] * columns, **more}


@pytest.fixture
def mean(start, tmp_path):
    server = start()
    server.apply(tmp_path, model("mean", TRAINED) + "---" + resources.pipeline("one", "steps:\n- name: mean\noutput:\n  steps: [mean]"))
    wait_for(lambda: requests.get(f"http://{server.infer}/v2/pipelines/one/ready", timeout=10).status_code == 200, 30, "not ready")
    return server


@pytest.mark.parametrize("wrong, words", [
    (tensor(9), ['"MEAN"', "9 features", "10"]),
    (tensor(1, shape=[1, 1, 10], data=[1] * 10), ['"MEAN"', "3 dimensions", "[rows, 10]"]),
    (tensor(10, datatype="BYTES", data=["x"] * 10), ['"MEAN"', "BYTES", "numbers"]),
])
def test_a_wrong_tensor_is_400_and_says_what_is_wanted(mean, wrong, words):
    for path in ("/v2/models/mean/infer", "/v2/pipelines/one/infer"):
        answer = infer(mean, wrong, path)
        assert answer.status_code == 400, answer.text
        assert all(word in answer.json()["error"] for word in ["model mean", *words]), answer.text
    client = grpcclient.InferenceServerClient(mean.infer)
    given = grpcclient.InferInput(wrong["name"], wrong["shape"], wrong["datatype"])
    given._raw_content = b"\x01\0\0\0x" * 10 if wrong["datatype"] == "BYTES" else b"\0\0\x80?" * len(wrong["data"])
    with pytest.raises(InferenceServerException) as refused:
        client.infer("mean", [given])
    assert "INVALID_ARGUMENT" in refused.value.status() and words[0] in refused.value.message(), refused.value
    assert infer(mean, tensor(10)).status_code == 200
    metrics = requests.get(f"http://{mean.infer}/metrics", timeout=10).text
    assert any('seldon_model_infer_total' in line and "InvalidArgument" in line for line in metrics.splitlines()), metrics


@pytest.mark.parametrize("prepare, words", [
    (lambda path: None, "No such file"),
    (lambda path: path.mkdir(), "holds neither model.json"),
    (lambda path: path.write_text("hello"), "not a model"),
    (lambda path: path.write_text('{"learner": 1}'), "not a model"),
    (lambda path: path.write_text(""), "empty"),
])
def test_a_model_file_that_cannot_be_used_is_said_everywhere_and_may_be_put_right(start, tmp_path, prepare, words):
    server, path = start(), tmp_path / "m.json"
    prepare(path)
    applied = server.apply(tmp_path, model("mean", path))
    if "{" not in (path.read_text() if path.is_file() else ""):
        assert "warning" in applied.stderr and "mean" in applied.stderr and words in applied.stderr, applied.stderr
    listed = json.loads(server.cli("get", "model", "mean", "--output", "json").stdout)
    assert listed["ready"] is False and listed["status"].startswith("ModelFailed: "), listed
    assert str(path) in listed["status"], listed
    assert requests.get(f"http://{server.infer}/v2/models/mean/ready", timeout=10).status_code == 424
    answer = infer(server, tensor(10))
    assert answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1, answer.text
    assert str(path) in answer.json()["error"], answer.text
    if path.is_dir():
        shutil.copy(TRAINED, path / "model.json")
    else:
        pathlib.Path(shutil.copy(TRAINED, tmp_path / "coming")).rename(path)
    assert requests.get(f"http://{server.infer}/v2/models/mean/ready", timeout=10).status_code == 200
    assert infer(server, tensor(10)).status_code == 200
