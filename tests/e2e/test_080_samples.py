"""The sample pipelines that users of the original know, over toy models with the same tensors, with their documented results."""

import struct

import pytest
import requests
import resources
from harness import wait_for
from test_040_pipelines import read_topic
from tritonclient.grpc import service_pb2

A = list(range(1, 17))
TWO_A = [2 * x for x in A]
F = [1, 2, 3, 4]
MODELS = ("tfsimple1 tfsimple2 tfsimple3 conditional mul10 add10 add20 check outlier-error choice-is-one choice-is-two error "
          "iris counter identity-loop identity-output").split()

PIPELINES = {
    "tfsimple": "steps: [{name: tfsimple1}]\noutput: {steps: [tfsimple1]}",
    "tfsimples": """
steps:
- name: tfsimple1
- name: tfsimple2
  inputs: [tfsimple1]
  tensorMap: {tfsimple1.outputs.OUTPUT0: INPUT0, tfsimple1.outputs.OUTPUT1: INPUT1}
output: {steps: [tfsimple2]}
""",
    "tfsimples-input": """
steps:
- name: tfsimple1
- name: tfsimple2
  inputs: [tfsimple1.inputs.INPUT0, tfsimple1.outputs.OUTPUT1]
  tensorMap: {tfsimple1.outputs.OUTPUT1: INPUT1}
output: {steps: [tfsimple2]}
""",
    "join": """
steps:
- name: tfsimple1
- name: tfsimple2
- name: tfsimple3
  inputs: [tfsimple1.outputs.OUTPUT0, tfsimple2.outputs.OUTPUT1]
  tensorMap: {tfsimple1.outputs.OUTPUT0: INPUT0, tfsimple2.outputs.OUTPUT1: INPUT1}
output: {steps: [tfsimple3]}
""",
    "joincheck": """
steps:
- name: tfsimple1
- name: tfsimple2
- name: check
  inputs: [tfsimple1.outputs.OUTPUT0]
  tensorMap: {tfsimple1.outputs.OUTPUT0: INPUT}
- name: tfsimple3
  inputs: [tfsimple1.outputs.OUTPUT0, tfsimple2.outputs.OUTPUT1]
  tensorMap: {tfsimple1.outputs.OUTPUT0: INPUT0, tfsimple2.outputs.OUTPUT1: INPUT1}
  triggers: [check.outputs.OUTPUT]
output: {steps: [tfsimple3]}
""",
    "tfsimple-conditional": """
steps:
- name: conditional
- name: mul10
  inputs: [conditional.outputs.OUTPUT0]
  tensorMap: {conditional.outputs.OUTPUT0: INPUT}
- name: add10
  inputs: [conditional.outputs.OUTPUT1]
  tensorMap: {conditional.outputs.OUTPUT1: INPUT}
output: {steps: [mul10, add10], stepsJoin: any}
""",
    "pipeline-inputs": """
steps:
- name: mul10
  inputs: [pipeline-inputs.inputs.INPUT0]
  tensorMap: {pipeline-inputs.inputs.INPUT0: INPUT}
- name: add10
  inputs: [pipeline-inputs.inputs.INPUT1]
  tensorMap: {pipeline-inputs.inputs.INPUT1: INPUT}
output: {steps: [mul10, add10]}
""",
    "trigger-joins": """
steps:
- name: mul10
  inputs: [trigger-joins.inputs.INPUT]
  triggers: [trigger-joins.inputs.ok1, trigger-joins.inputs.ok2]
  triggersJoinType: any
- name: add10
  inputs: [trigger-joins.inputs.INPUT]
  triggers: [trigger-joins.inputs.ok3]
output: {steps: [mul10, add10], stepsJoin: any}
""",
    "choice": """
steps:
- name: choice-is-one
- name: mul10
  inputs: [choice.inputs.INPUT]
  triggers: [choice-is-one.outputs.choice]
- name: choice-is-two
- name: add10
  inputs: [choice.inputs.INPUT]
  triggers: [choice-is-two.outputs.choice]
output: {steps: [mul10, add10], stepsJoin: any}
""",
    "outlier": """
steps:
- name: outlier-error
- name: add10
  inputs: [outlier.inputs.INPUT]
  triggers: [outlier-error]
output: {steps: [add10]}
""",
    "error-pipeline": "steps: [{name: outlier-error}]\noutput: {steps: [outlier-error]}",
    "iris-pipeline": "steps: [{name: iris}]\noutput: {steps: [iris]}",
    "counter-pipeline": """
allowCycles: true
maxStepRevisits: 100
steps:
- name: counter
  inputs: [identity-loop.outputs.output, counter-pipeline.inputs]
  inputsJoinType: any
- name: identity-output
  joinWindowMs: 1
  inputs: [counter]
  triggers: [counter.outputs.stop]
- name: identity-loop
  joinWindowMs: 1
  inputs: [counter.outputs.output]
  triggers: [counter.outputs.continue]
output: {steps: [identity-output]}
""",
}


def int32(values, name, shape=None):
    return {"name": name, "shape": shape or [1, len(values)], "datatype": "INT32", "data": values}


def f32(values, name):
    return {"name": name, "shape": [len(values)], "datatype": "FP32", "data": values}


def pair(a, b):
    return [int32(a, "INPUT0"), int32(b, "INPUT1")]


SAMPLES = [
    ("tfsimple", pair(A, A), [TWO_A, [0] * 16]),
    ("tfsimples", pair(A, A), [TWO_A, TWO_A]),
    ("tfsimples-input", pair(A, A), [A, A]),
    ("join", pair(A, A), [TWO_A, TWO_A]),
    ("joincheck", pair([1] * 16, [1] * 16), [[2] * 16, [2] * 16]),
    ("joincheck", pair(A, A), "check : "),
    ("tfsimple-conditional", [int32([0], "CHOICE", [1]), f32(F, "INPUT0"), f32(F, "INPUT1")], [[10, 20, 30, 40]]),
    ("tfsimple-conditional", [int32([1], "CHOICE", [1]), f32(F, "INPUT0"), f32(F, "INPUT1")], [[11, 12, 13, 14]]),
    ("pipeline-inputs", [f32(F, "INPUT0"), f32(F, "INPUT1")], [[10, 20, 30, 40], [11, 12, 13, 14]]),
    ("trigger-joins", [f32(F, "INPUT"), int32([1], "ok1", [1])], [[10, 20, 30, 40]]),
    ("trigger-joins", [f32(F, "INPUT"), int32([1], "ok2", [1])], [[10, 20, 30, 40]]),
    ("trigger-joins", [f32(F, "INPUT"), int32([1], "ok3", [1])], [[11, 12, 13, 14]]),
    ("choice", [int32([1], "choice", [1]), f32([5, 6, 7, 8], "INPUT")], [[50, 60, 70, 80]]),
    ("choice", [int32([2], "choice", [1]), f32([5, 6, 7, 8], "INPUT")], [[15, 16, 17, 18]]),
    ("error-pipeline", [f32(F, "INPUT")], [[10, 20, 30, 40]]),
    ("error-pipeline", [f32([100, 2, 3, 4], "INPUT")], "outlier-error : "),
    ("outlier", [f32(F, "INPUT")], [[11, 12, 13, 14]]),
    ("outlier", [f32([100, 2, 3, 4], "INPUT")], "outlier-error : "),
    ("counter-pipeline", [int32([0], "counter-pipeline.inputs", [1])], [[10], [""]]),
]


def load(plane, toy, tmp_path, names, models=MODELS):
    texts = [resources.server(toy), *(resources.model(name) for name in models),
             *(resources.pipeline(name, PIPELINES[name]) for name in names)]
    plane.apply(tmp_path, "---".join(texts))
    for name in names:
        wait_for(lambda n=name: requests.get(f"http://{plane.infer}/v2/pipelines/{n}/ready", timeout=10).status_code == 200, 30,
                 f"{name} never got ready")
    return plane


@pytest.fixture
def samples(start, toy, tmp_path):
    return load(start(), toy, tmp_path, PIPELINES)


def test_every_sample_has_its_documented_result(samples):
    for name, inputs, wanted in SAMPLES:
        answer = requests.post(f"http://{samples.infer}/v2/pipelines/{name}/infer", json={"inputs": inputs}, timeout=20)
        if isinstance(wanted, str):
            assert answer.status_code >= 400 and answer.json()["error"].startswith(wanted), (name, answer.text)
            continue
        assert answer.status_code == 200, (name, answer.text)
        assert [output["data"] for output in answer.json()["outputs"]] == wanted, name


def test_a_step_of_a_cycle_runs_as_often_as_it_may_and_no_more(samples, tmp_path):
    short = PIPELINES["counter-pipeline"].replace("maxStepRevisits: 100", "maxStepRevisits: 4").replace("counter-pipeline", "short")
    samples.apply(tmp_path, resources.pipeline("short", short))
    wait_for(lambda: requests.get(f"http://{samples.infer}/v2/pipelines/short/ready", timeout=10).status_code == 200, 30, "not ready")
    inputs = [int32([0], "x", [1])]
    answer = requests.post(f"http://{samples.infer}/v2/pipelines/short/infer", json={"inputs": inputs}, timeout=20)
    assert answer.status_code == 400, answer.text
    assert "the step has run 4 times" in answer.json()["error"] and "maxStepRevisits" in answer.json()["error"]
    inputs = [int32([6], "x", [1])]
    answer = requests.post(f"http://{samples.infer}/v2/pipelines/short/infer", json={"inputs": inputs}, timeout=20)
    assert answer.status_code == 200, answer.text


BETWEEN = {
    "tfsimple-extended": """
input:
  externalInputs: [tfsimple.outputs]
  tensorMap: {tfsimple.outputs.OUTPUT0: INPUT0, tfsimple.outputs.OUTPUT1: INPUT1}
steps: [{name: tfsimple2}]
output: {steps: [tfsimple2]}
""",
    "tfsimple-extended2": """
input:
  externalInputs: [tfsimple.outputs]
  tensorMap: {tfsimple.outputs.OUTPUT0: INPUT0, tfsimple.outputs.OUTPUT1: INPUT1}
steps: [{name: tfsimple2}]
output: {steps: [tfsimple2]}
""",
    "tfsimple-combined": """
input:
  externalInputs: [tfsimple-extended.outputs.OUTPUT0, tfsimple-extended2.outputs.OUTPUT1]
  tensorMap: {tfsimple-extended.outputs.OUTPUT0: INPUT0, tfsimple-extended2.outputs.OUTPUT1: INPUT1}
steps: [{name: tfsimple2}]
output: {steps: [tfsimple2]}
""",
    "tfsimple-combined-trigger": """
input:
  externalInputs: [tfsimple-extended.outputs]
  externalTriggers: [tfsimple-extended2.outputs]
  tensorMap: {tfsimple-extended.outputs.OUTPUT0: INPUT0, tfsimple-extended.outputs.OUTPUT1: INPUT1}
steps: [{name: tfsimple2}]
output: {steps: [tfsimple2]}
""",
    "tfsimple-extended-step": """
input:
  externalInputs: [tfsimple.step.tfsimple1.outputs]
  tensorMap: {tfsimple.step.tfsimple1.outputs.OUTPUT0: INPUT0, tfsimple.step.tfsimple1.outputs.OUTPUT1: INPUT1}
steps: [{name: tfsimple2}]
output: {steps: [tfsimple2]}
""",
    "tfsimple-combined-step": """
input:
  externalInputs: [tfsimple-extended.step.tfsimple2.outputs.OUTPUT0, tfsimple-extended2.step.tfsimple2.outputs.OUTPUT0]
  tensorMap:
    tfsimple-extended.step.tfsimple2.outputs.OUTPUT0: INPUT0
    tfsimple-extended2.step.tfsimple2.outputs.OUTPUT0: INPUT1
steps: [{name: tfsimple2}]
output: {steps: [tfsimple2]}
""",
}
FOUR_A = [4 * x for x in A]
REACHED = {"tfsimple-extended": [TWO_A, TWO_A], "tfsimple-extended2": [TWO_A, TWO_A], "tfsimple-extended-step": [TWO_A, TWO_A],
           "tfsimple-combined": [FOUR_A, [0] * 16], "tfsimple-combined-trigger": [FOUR_A, [0] * 16],
           "tfsimple-combined-step": [FOUR_A, [0] * 16]}


def test_pipelines_that_read_other_pipelines_have_their_documented_results(plane, toy, tmp_path):
    samples = load(plane, toy, tmp_path, ["tfsimple"], ["tfsimple1", "tfsimple2"])
    samples.apply(tmp_path, "---".join(resources.pipeline(name, spec) for name, spec in BETWEEN.items()))
    for name in BETWEEN:
        wait_for(lambda n=name: requests.get(f"http://{samples.infer}/v2/pipelines/{n}/ready", timeout=10).status_code == 200, 30,
                 f"{name} never got ready")
    for call in (1, 2):
        answer = requests.post(f"http://{samples.infer}/v2/pipelines/tfsimple/infer", json={"inputs": pair(A, A)}, timeout=20,
                               headers={"x-request-id": f"between-{call}"})
        assert answer.status_code == 200, answer.text
    for name, wanted in REACHED.items():
        records = read_topic(samples, f"pipeline.{name}.outputs", at_least=2)
        assert len(records) == 2, name
        assert [record.key().decode().split(".", 1)[1] for record in records] == ["tfsimple.between-1", "tfsimple.between-2"], name
        assert ("pipeline", name.encode()) in records[0].headers()
        response = service_pb2.ModelInferResponse.FromString(records[0].value())
        assert tensors_of(response) == wanted, name


def tensors_of(response):
    if response.raw_output_contents:
        return [list(struct.unpack(f"<{len(raw) // 4}i", raw)) for raw in response.raw_output_contents]
    return [list(tensor.contents.int_contents) for tensor in response.outputs]


def test_pipelines_that_feed_each_other_are_refused(samples, tmp_path):
    ring = [resources.pipeline(name, f"input: {{externalInputs: [{other}]}}\nsteps: [{{name: mul10}}]\noutput: {{steps: [mul10]}}")
            for name, other in (("one", "two"), ("two", "three"), ("three", "one"))]
    path = tmp_path / "ring.yaml"
    path.write_text("---".join(ring))
    done = samples.cli("apply", "-f", path, check=False)
    assert done.returncode != 0 and "feed each other without end: one > " in done.stdout + done.stderr
