"""Batches, end to end: many callers at once, each with its own rows; a model that only sees a few calls."""

import concurrent.futures

import pytest
import requests
import resources
from harness import wait_for
from test_040_pipelines import read_topic

BATCHED = resources.pipeline("batched", """
steps:
- name: slow
  batch: {size: 64}
output: {steps: [slow]}
""")


def rows(numbers):
    return {"name": "INPUT", "shape": [len(numbers), 2], "datatype": "FP32", "data": [x for n in numbers for x in (n, n + 0.5)]}


@pytest.mark.parametrize("name,batch", [("batched", "{size: 64}"), ("windowed", "{size: 64, windowMs: 5000}")])
def test_every_caller_gets_its_own_rows_of_one_call(plane, toy, tmp_path, name, batch):
    """A window is no reason to go out beside a call that is out."""
    plane.apply(tmp_path, "---".join([resources.toys(toy), BATCHED.replace("batched", name).replace("{size: 64}", batch)]))
    ready = f"http://{plane.infer}/v2/pipelines/{name}/ready"
    wait_for(lambda: requests.get(ready, timeout=10).status_code == 200, 30, "not ready")
    inputs = [rows(range(10 * i, 10 * i + 1 + i % 3)) for i in range(24)]

    def ask(given):
        return requests.post(f"http://{plane.infer}/v2/pipelines/{name}/infer", json={"inputs": [given]}, timeout=30)

    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(ask, inputs))
    for given, answer in zip(inputs, answers):
        assert answer.status_code == 200, answer.text
        output = answer.json()["outputs"][0]
        assert (output["shape"], output["data"]) == (given["shape"], given["data"])
    calls = wait_for(lambda: [c for c in read_topic(plane, "model.slow.inputs", at_least=2) if f".{name}.".encode() in c.key()], 20, "no calls")
    assert len(calls) < 24
    listed = [dict(call.headers())["millrace-batch"].decode() for call in calls if "millrace-batch" in dict(call.headers())]
    assert sum(len(text.split(", ")) for text in listed) + len(calls) - len(listed) == 24


def test_a_lone_caller_of_a_batched_step_does_not_wait(plane, toy, tmp_path):
    lone = BATCHED.replace("batched", "lone").replace("slow", "mul10").replace("{size: 64}", "{size: 64, windowMs: 20000}")
    plane.apply(tmp_path, "---".join([resources.toys(toy), lone]))
    ready = f"http://{plane.infer}/v2/pipelines/lone/ready"
    wait_for(lambda: requests.get(ready, timeout=10).status_code == 200, 30, "not ready")
    answer = requests.post(f"http://{plane.infer}/v2/pipelines/lone/infer", json={"inputs": [rows([1, 2])]}, timeout=5)
    assert answer.status_code == 200 and answer.json()["outputs"][0]["data"] == [10, 15, 20, 25], answer.text
