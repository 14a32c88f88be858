"""The sample pipelines that users of the original know, over toy models with the same tensors, with their documented results."""

import concurrent.futures
import json
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
          "iris iris-batched drift id1-node id2-node join-node counter identity-loop identity-output").split()

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
    "iris-batch": "steps: [{name: iris-batched, batch: {size: 2}}]\noutput: {steps: [iris-batched]}",
    "iris-async-drift": """
steps:
- name: iris
- name: drift
  batch: {size: 2}
output: {steps: [iris, drift.outputs.is_drift]}
""",
    "triggers-join-inputs": """
steps:
- name: join-node
  inputs: [triggers-join-inputs.inputs.INPUT1, triggers-join-inputs.inputs.INPUT2]
  inputsJoinType: inner
  triggers: [triggers-join-inputs.inputs.TRIGGER1, triggers-join-inputs.inputs.TRIGGER2]
  triggersJoinType: any
output: {steps: [join-node]}
""",
    "triggers-join-internal": """
steps:
- name: id1-node
  inputs: [triggers-join-internal.inputs.TRIGGER1]
  tensorMap: {triggers-join-internal.inputs.TRIGGER1: INPUT1}
- name: id2-node
  inputs: [triggers-join-internal.inputs.TRIGGER2]
  tensorMap: {triggers-join-internal.inputs.TRIGGER2: INPUT1}
- name: join-node
  inputs: [triggers-join-internal.inputs.INPUT1, triggers-join-internal.inputs.INPUT2]
  inputsJoinType: inner
  triggers: [id1-node.outputs.OUTPUT1, id2-node.outputs.OUTPUT1]
  triggersJoinType: any
output: {steps: [join-node]}
""",
    "pipeline-add10": "steps: [{name: add10}]\noutput: {steps: [add10]}",
    "pipeline-mul10": "steps: [{name: mul10}]\noutput: {steps: [mul10]}",
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


ONES = [{"name": name, "shape": [1], "datatype": "INT64", "data": [1]} for name in ("INPUT1", "INPUT2")]
TRIGGERS = [{"name": name, "shape": [1], "datatype": "BOOL", "data": [True]} for name in ("TRIGGER1", "TRIGGER2")]
IRIS = [{"name": "predict", "shape": [1, 4], "datatype": "FP32", "data": F}]

SAMPLES = [
    ("tfsimple", [int32(F, "INPUT0"), int32(F, "INPUT1")], "tfsimple1 : rpc error: code = InvalidArgument desc = INPUT0: the shape [-1,16]"),
    *((name, ONES + triggers, [[2]]) for name in ("triggers-join-inputs", "triggers-join-internal")
      for triggers in (TRIGGERS[:1], TRIGGERS[1:], TRIGGERS)),
    ("pipeline-add10", [f32(F, "INPUT")], [[11, 12, 13, 14]]),
    ("pipeline-mul10", [f32(F, "INPUT")], [[10, 20, 30, 40]]),
    ("iris-pipeline", IRIS, [[2]]),
    ("iris-batch", IRIS, [[2]]),
    ("iris-async-drift", IRIS, [[2], [0]]),
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


def test_two_callers_of_a_batched_step_each_have_their_answer(samples):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for answer in pool.map(lambda _: requests.post(f"http://{samples.infer}/v2/pipelines/iris-batch/infer", json={"inputs": IRIS},
                                                       timeout=20), range(8)):
            assert answer.status_code == 200 and answer.json()["outputs"][0]["data"] == [2], answer.text


def test_a_pipeline_that_is_loaded_again_has_the_next_version_and_the_new_steps(samples, tmp_path):
    for version, name, wanted in ((1, "add10", [11, 12, 13, 14]), (2, "mul10", [10, 20, 30, 40]), (3, "add10", [11, 12, 13, 14])):
        samples.apply(tmp_path, resources.pipeline("version-test", f"steps: [{{name: {name}}}]\noutput: {{steps: [{name}]}}"))
        answer = requests.post(f"http://{samples.infer}/v2/pipelines/version-test/infer", json={"inputs": [f32(F, "INPUT")]}, timeout=20)
        assert answer.json()["outputs"][0]["data"] == wanted, answer.text
        assert answer.headers["x-pipeline-version"] == str(version)


@pytest.mark.parametrize("name, spec, words", [
    ("error-bad-spec", "steps: [{name: mul10, input: [add10]}]", "input"),
    ("error-empty-input", 'steps: [{name: mul10, inputs: [""]}]', "empty"),
    ("error-empty-trigger", 'steps: [{name: mul10, triggers: [""]}]', "empty"),
    ("error-step-name", "steps: [{name: error-step-name}]", "error-step-name"),
    ("error-unknown-step", "steps: [{name: mul10, inputs: [nobody]}]", "nobody"),
    ("error-unknown-trigger", "steps: [{name: mul10, triggers: [nobody]}]", "nobody"),
    ("error-cycle", "steps: [{name: mul10, inputs: [add10]}, {name: add10, inputs: [mul10]}]", "cycle"),
    ("triggers_join_inputs", "steps: [{name: mul10}]", "triggers_join_inputs"),
])
def test_the_samples_of_mistakes_are_refused_with_the_place(start, tmp_path, name, spec, words):
    path = tmp_path / "wrong.yaml"
    path.write_text(resources.pipeline(name, spec))
    done = start().cli("apply", "-f", path, check=False)
    assert done.returncode == 1 and words in done.stderr and "wrong.yaml:" in done.stderr, done.stderr
    assert "internal" not in done.stderr


def test_the_samples_of_models_are_taken_and_say_what_they_lack(start, toy, tmp_path):
    server = start()
    extra = resources.server(toy).replace("{name: toy}", "{name: mlserver-extra}").replace("[toy]", "[mlserver, sklearn, mlserver-extra]")
    ready = {
        "iris": "storageUri: gs://models/iris\n  memory: 100Ki",
        "tfsimple": "storageUri: gs://models/simple\n  replicas: 2\n  minReplicas: 1\n  maxReplicas: 3",
        "math": "storageUri: gs://models/multi-version\n  artifactVersion: 2",
        "iris2": "storageUri: s3://models/iris\n  secretName: minio-secret",
        "iris3": "storageUri: gs://models/iris\n  server: mlserver-extra",
        "add10": "storageUri: gs://models/add10\n  dataflow: {cleanTopicsOnDelete: true}\n  logger: {percent: 100}",
    }
    lacking = {"error-bad-capabilities": ("requirements: [foobar]", "foobar"),
               "iris-custom-server": ("requirements: [sklearn]\n  server: mlserver-134", "mlserver-134")}
    texts = [extra, *(resources.model(n, "sklearn") + f"  {spec}\n" for n, spec in ready.items())]
    for name, (spec, _) in lacking.items():
        texts.append(f"apiVersion: mlops.seldon.io/v1alpha1\nkind: Model\nmetadata: {{name: {name}}}\nspec:\n  storageUri: gs://x\n  {spec}\n")
    server.apply(tmp_path, "---\n".join(texts))
    listed = {r["name"]: r for r in json.loads(server.cli("get", "models", "--output", "json").stdout)["resources"]}
    assert [n for n in ready if not listed[n]["ready"]] == [], listed
    for name, (_, words) in lacking.items():
        assert listed[name]["ready"] is False and words in json.dumps(listed[name]), listed[name]


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
