"""A real MLServer with a custom runtime and a scikit-learn model behind one pipeline, by gRPC and by REST."""

import json
import pathlib
import subprocess

import harness
import pytest
import requests
import resources
from harness import wait_for

PYTHON = harness.ROOT / "build/venv-mlserver/bin/python"
HERE = pathlib.Path(__file__).parent / "mlserver"

PIPELINE = resources.pipeline("iris-scaled", """
steps:
- name: scale
- name: iris
  inputs: [scale.outputs.scaled]
  tensorMap: {scale.outputs.scaled: predict}
output:
  steps: [iris]
""")


@pytest.fixture(scope="module")
def mlserver(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mlserver") / "models"
    http, grpc, metrics = harness.free_ports(), harness.free_ports(), harness.free_ports()
    subprocess.run([PYTHON, HERE / "make.py", folder, str(http), str(grpc), str(metrics)], check=True, timeout=120)
    with open(folder / "mlserver.log", "wb") as log:
        child = subprocess.Popen([PYTHON.parent / "mlserver", "start", "."], cwd=folder, stdout=log, stderr=log)
        wait_for(lambda: answers(f"http://127.0.0.1:{http}/v2/health/ready"), 90,
                 lambda: "MLServer did not get ready: " + (folder / "mlserver.log").read_text()[-2000:])
        yield f"127.0.0.1:{grpc}", f"127.0.0.1:{http}", json.loads((folder / "labels.json").read_text())
        child.terminate()
        child.wait(30)


def answers(url):
    try:
        return requests.get(url, timeout=2).status_code == 200
    except requests.ConnectionError:
        return False


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_a_scikit_learn_model_behind_a_custom_runtime(start, mlserver, tmp_path, protocol):
    grpc, rest, expected = mlserver
    address = f"address: {grpc}\n  restAddress: {rest}" if protocol == "grpc" else f"restAddress: {rest}"
    server = f"""
apiVersion: mlops.seldon.io/v1alpha1
kind: Server
metadata: {{name: mlserver}}
spec:
  {address}
  capabilities: [mlserver, sklearn, python]
"""
    plane = start()
    plane.apply(tmp_path, "---".join([server, resources.model("iris", "sklearn"), resources.model("scale", "python"), PIPELINE]))
    wait_for(lambda: requests.get(f"http://{plane.infer}/v2/pipelines/iris-scaled/ready", timeout=10).status_code == 200, 60,
             lambda: f"not ready: {plane.errors()}")
    rows = expected["rows"]
    body = {"inputs": [{"name": "predict", "shape": [len(rows), 4], "datatype": "FP64", "data": rows}]}
    answer = requests.post(f"http://{plane.infer}/v2/pipelines/iris-scaled/infer", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    output = answer.json()["outputs"][0]
    right = sum(a == b for a, b in zip(output["data"], expected["labels"]))
    assert right == len(rows), (output, expected["labels"])
