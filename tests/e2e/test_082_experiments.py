"""Experiments, end to end: shares, sticky callers, mirrors, the step of a pipeline, and the way back."""

import collections
import math

import numpy
import pytest
import requests
import resources
import tritonclient.grpc as triton
from harness import wait_for
from test_040_pipelines import read_topic

ADD = resources.pipeline("pipeline-add10", "steps: [{name: add10}]\noutput: {steps: [add10]}")
MUL = resources.pipeline("pipeline-mul10", "steps: [{name: mul10}]\noutput: {steps: [mul10]}")
F = [1, 2, 3, 4]


def experiment(name, spec):
    return f"""
apiVersion: mlops.seldon.io/v1alpha1
kind: Experiment
metadata: {{name: {name}}}
spec: {spec}
"""


@pytest.fixture
def plane(start, toy, tmp_path):
    plane = start()
    plane.bootstrap, plane.namespace = plane.kafka, "default"
    plane.apply(tmp_path, "---".join([resources.toys(toy), resources.model("add20"), ADD, MUL]))
    for kind, name in (("pipelines", "pipeline-add10"), ("pipelines", "pipeline-mul10"), ("models", "add20")):
        wait_for(lambda k=kind, n=name: requests.get(f"http://{plane.infer}/v2/{k}/{n}/ready", timeout=10).status_code == 200, 30, name)
    return plane


def ask(plane, kind, name, headers=None):
    answer = requests.post(f"http://{plane.infer}/v2/{kind}/{name}/infer", json={"inputs": [resources.fp32(F)]}, timeout=20,
                           headers=headers or {})
    assert answer.status_code == 200, answer.text
    return answer


def first(answer):
    return answer.json()["outputs"][0]["data"][0]


def shares(counted, total, part):
    return abs(counted - total * part) <= 4 * math.sqrt(total * part * (1 - part))


def test_requests_are_shared_by_weight_and_stick_when_the_route_is_sent_back(plane, tmp_path):
    plane.apply(tmp_path, experiment("ab", "{default: add10, candidates: [{name: add10, weight: 25}, {name: add20, weight: 75}]}"))
    seen = collections.Counter()
    for _ in range(200):
        answer = ask(plane, "models", "add10")
        seen[(first(answer), answer.headers["x-seldon-route"])] += 1
    assert set(seen) == {(11, ":add10_1:"), (21, ":add20_1:")}
    assert shares(seen[(11, ":add10_1:")], 200, 0.25), seen
    for route, value in ((":add10_1:", 11), (":add20_1:", 21)):
        assert {first(ask(plane, "models", "add10", {"x-seldon-route": route})) for _ in range(20)} == {value}
    assert first(ask(plane, "models", "x", {"seldon-model": "ab.experiment", "x-seldon-route": ":add20_1:"})) == 21
    assert {first(ask(plane, "models", "add20")) for _ in range(5)} == {21}
    steps = collections.Counter(first(ask(plane, "pipelines", "pipeline-add10")) for _ in range(60))
    assert set(steps) == {11, 21} and shares(steps[11], 60, 0.25), steps
    with triton.InferenceServerClient(plane.infer) as client:
        tensor = triton.InferInput("INPUT", [4], "FP32")
        tensor.set_data_from_numpy(numpy.array(F, dtype=numpy.float32))
        grpc = {client.infer("ab.experiment", [tensor]).get_response().outputs[0].contents.fp32_contents[0] for _ in range(40)}
    assert grpc == {11.0, 21.0}
    plane.cli("delete", "experiment", "ab")
    assert {first(ask(plane, "models", "add10")) for _ in range(20)} == {11}


def test_an_experiment_of_pipelines_with_a_mirror_survives_a_restart(plane, start, tmp_path):
    plane.apply(tmp_path, experiment("addmul", "{resourceType: pipeline, candidates: [{name: pipeline-add10, weight: 1}],"
                                               " mirror: {name: pipeline-mul10, percent: 100}}"))
    assert plane.cli("get", "experiments").stdout.count("addmul") == 1
    assert "pipeline-mul10" in plane.cli("describe", "experiment", "addmul").stdout
    plane.stop()
    again = start()
    again.bootstrap, again.namespace = again.kafka, "default"
    wait_for(lambda: requests.get(f"http://{again.infer}/v2/pipelines/pipeline-mul10/ready", timeout=10).status_code == 200, 30, "mul")
    wait_for(lambda: requests.get(f"http://{again.infer}/v2/pipelines/addmul.experiment/ready", timeout=10).status_code == 200, 30, "x")
    for i in range(5):
        answer = ask(again, "pipelines", "addmul.experiment", {"x-request-id": f"m{i}"})
        assert first(answer) == 11 and answer.headers["x-seldon-route"] == ":pipeline-add10.pipeline:"
    copies = read_topic(again, "pipeline.pipeline-mul10.outputs", at_least=5)
    assert sorted(dict(copy.headers())["x-request-id"] for copy in copies) == [b"m%d" % i for i in range(5)]


def test_a_slow_mirror_costs_no_caller_his_answer(start, toy, tmp_path):
    plane = start("--gateway.inFlightMax", "16")
    plane.apply(tmp_path, resources.toys(toy))
    for name in ("add10", "slow"):
        wait_for(lambda n=name: requests.get(f"http://{plane.infer}/v2/models/{n}/ready", timeout=10).status_code == 200, 30, name)
    plane.apply(tmp_path, experiment("shadowed", "{default: add10, candidates: [{name: add10, weight: 1}], mirror: {name: slow, percent: 100}}"))
    assert {first(ask(plane, "models", "add10")) for _ in range(60)} == {11}


def test_what_is_wrong_with_an_experiment_is_said(plane, tmp_path):
    plane.apply(tmp_path, experiment("one", "{default: add10, candidates: [{name: add10, weight: 1}, {name: nosuch, weight: 9}]}"))
    assert {first(ask(plane, "models", "add10")) for _ in range(10)} == {11}
    path = tmp_path / "two.yaml"
    path.write_text(experiment("two", "{default: add10, candidates: [{name: add10, weight: 1}]}"))
    done = plane.cli("apply", "-f", path, check=False)
    assert done.returncode != 0 and "add10 is the default of Experiment one already" in done.stdout + done.stderr
    gone = requests.post(f"http://{plane.infer}/v2/models/nosuch.experiment/infer", json={"inputs": [resources.fp32(F)]}, timeout=20)
    assert gone.status_code == 404 and "experiment nosuch does not exist" in gone.text
