/* Model, Server and Pipeline: what is taken, what is refused and in which words. SPDX-License-Identifier: Apache-2.0 */
#include "control/resource.h"
#include "test.h"

struct applied {
    struct problems problems, warnings;
    struct resource **list;
    size_t n;
    bool ok;
};

static struct applied apply(const char *text)
{
    struct applied a = {0};
    struct resource_input in = {.text = str_of(text),
                                .topic_prefix = STR("seldon"),
                                .topic_namespace = STR("default"),
                                .problems = &a.problems,
                                .warnings = &a.warnings};
    a.ok = resources_parse(&in, &a.list, &a.n);
    return a;
}

static void drop(struct applied *a)
{
    if (a->ok) resources_free(a->list, a->n);
    problems_fini(&a->problems);
    problems_fini(&a->warnings);
}

static void assert_lines(const struct problems *p, const char *wanted)
{
    struct buf b = {0};
    problems_print(p, &b);
    assert_string_equal(buf_cstr(&b), wanted);
    buf_fini(&b);
}

static void assert_refused(const char *text, const char *wanted)
{
    struct applied a = apply(text);
    assert_false(a.ok);
    assert_lines(&a.problems, wanted);
    drop(&a);
}

static void assert_taken(const char *text, const char *warnings)
{
    struct applied a = apply(text);
    assert_lines(&a.problems, "");
    assert_true(a.ok);
    assert_lines(&a.warnings, warnings);
    drop(&a);
}

#define MODEL(spec)                                                                                \
    "apiVersion: mlops.seldon.io/v1alpha1\nkind: Model\nmetadata:\n  name: m\nspec:\n" spec
#define SERVER(spec)   "kind: Server\nmetadata:\n  name: s\nspec:\n" spec
#define PIPELINE(spec) "kind: Pipeline\nmetadata:\n  name: p\nspec:\n" spec

static void a_model_is_read(void **state)
{
    (void)state;
    struct applied a = apply(MODEL("  storageUri: \"gs://b/m\"\n  requirements: [sklearn, ' python "
                                   "']\n  modelType: x\n  memory: 100Ki\n"
                                   "  server: big\n  servedName: iris-v2\n  modelVersion: 3\n  "
                                   "dataflow: {cleanTopicsOnDelete: true, record: ends}\n"));
    assert_true(a.ok);
    const struct resource_model *m = &a.list[0]->model;
    assert_int_equal(a.list[0]->kind, RESOURCE_MODEL);
    assert_str(a.list[0]->name, "m");
    assert_str(m->storage_uri, "gs://b/m");
    assert_int_equal(m->requirements_n, 3);
    assert_str(m->requirements[1], "python");
    assert_str(m->requirements[2], "x");
    assert_str(m->server, "big");
    assert_str(m->served_name, "iris-v2");
    assert_str(m->version, "3");
    assert_true(m->clean_topics_on_delete);
    assert_true(m->has_record);
    assert_int_equal(m->record, FLOW_RECORD_ENDS);
    assert_str(
        a.list[0]->json,
        "{\"apiVersion\":\"mlops.seldon.io/"
        "v1alpha1\",\"kind\":\"Model\",\"metadata\":{\"name\":\"m\"},\"spec\":{\"storageUri\":\"gs:"
        "//b/m\","
        "\"requirements\":[\"sklearn\",\" python "
        "\"],\"modelType\":\"x\",\"memory\":\"100Ki\",\"server\":\"big\",\"servedName\":\"iris-"
        "v2\","
        "\"modelVersion\":3,\"dataflow\":{\"cleanTopicsOnDelete\":true,\"record\":\"ends\"}}}");
    drop(&a);
}

static void every_mistake_of_a_model_is_told_at_once_with_its_line(void **state)
{
    (void)state;
    assert_refused(
        "apiVersion: v1\nkind: Model\nmetadata:\n  name: Bad_Name\n  nmae: x\nspec:\n  storagUri: "
        "x\n  memory: 10Q\n  minReplicas: 3\n"
        "  maxReplicas: 2\n  replicas: 1\n  requirements: [a, '']\n  explainer: {type: "
        "anchor_tabular}\n  llm: {}\n  parameters: [{name: a}]\n"
        "  repository: true\n  dataflow: {record: some}\n",
        "line 1:13: apiVersion: mlops.seldon.io/v1alpha1 is wanted, not \"v1\"\n"
        "line 4:9: metadata.name: \"Bad_Name\" is no name: a-z, 0-9 and - are allowed, - neither "
        "first nor last\n"
        "line 5:3: unknown field \"nmae\" in metadata; known are name, namespace, generation, "
        "labels, annotations, uid, resourceVersion, creationTimestamp, deletionTimestamp, "
        "finalizers, ownerReferences, managedFields, selfLink, generateName, "
        "deletionGracePeriodSeconds\n"
        "line 7:3: unknown field \"storagUri\" in spec; known are storageUri, server, servedName, "
        "modelVersion, artifactVersion, requirements, modelType, memory, replicas, minReplicas, "
        "maxReplicas, schemaUri, secretName, preloaded, dedicated, logger, explainer, llm, "
        "parameters, repository, dataflow\n"
        "line 8:11: memory: a quantity that is a whole number of bytes is wanted (100Ki, 3Gi, 8M), "
        "not \"10Q\"\n"
        "line 9:16: the scaling is contradictory: minReplicas 3 is more than maxReplicas 2\n"
        "line 11:13: the scaling is contradictory: replicas 1 is less than minReplicas 3\n"
        "line 12:21: requirements[1] is empty\n"
        "line 14:8: explainer and llm exclude each other\n"
        "line 15:16: spec.parameters[0] has no value\n"
        "line 16:15: repository: loading models through the repository API comes with a later "
        "version; load the model on its server\n"
        "line 17:22: record: all, ends or errors is wanted, not \"some\"\n");
}

static void quantities_are_kubernetes_own(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t bytes;
    } good[] = {{"0", 0},
                {"100Ki", 102400},
                {"3Gi", INT64_C(3) << 30},
                {"8M", 8000000},
                {"1e3", 1000},
                {"1.5Ki", 1536},
                {"2000m", 2},
                {"1.5k", 1500},
                {"4E", INT64_C(4000000000000000000)},
                {"12E2", 1200},
                {"7Ei", INT64_C(7) << 60}};
    static const char *const bad[] = {"",     "Ki",  "1.5", "500m",
                                      "1 Ki", "10Q", "8Ei", "0.0001Ki",
                                      "1e99", "--1", "1e",  "9223372036854775808"};
    for (size_t i = 0; i < countof(good); i++) {
        int64_t v = -7;
        assert_true(quantity_bytes(str_of(good[i].text), &v));
        assert_int_equal(v, good[i].bytes);
    }
    for (size_t i = 0; i < countof(bad); i++) {
        int64_t v;
        assert_false(quantity_bytes(str_of(bad[i]), &v));
    }
}

static void a_server_is_read(void **state)
{
    (void)state;
    struct applied a = apply(SERVER("  serverConfig: mlserver\n  address: 10.0.0.7:8081\n  "
                                    "restAddress: '[::1]:8080'\n  extraCapabilities: [mine]\n"));
    assert_true(a.ok);
    assert_str(a.list[0]->server.address, "10.0.0.7:8081");
    assert_str(a.list[0]->server.rest_address, "[::1]:8080");
    assert_int_equal(a.list[0]->server.capabilities_n, 11);
    assert_str(a.list[0]->server.capabilities[10], "mine");
    drop(&a);
}

static void a_server_without_an_address_is_refused(void **state)
{
    (void)state;
    assert_refused(SERVER("  capabilities: [x]\n"),
                   "line 5:3: a Server needs spec.address: HOST:PORT of its V2 gRPC port (or "
                   "spec.restAddress if it speaks REST only)\n");
    assert_refused(
        SERVER("  capabilities: [x]\n  address: nowhere\n  restAddress: h:0\n"),
        "line 6:12: address: HOST:PORT of the model server is wanted, not \"nowhere\"\n"
        "line 7:16: restAddress: HOST:PORT of the model server is wanted, not \"h:0\"\n");
}

static void what_has_no_effect_here_is_said(void **state)
{
    (void)state;
    assert_taken(
        "kind: Server\nmetadata: {name: s, namespace: elsewhere}\nspec: {address: 'h:1', podSpec: "
        "{a: [b]}}\n",
        "line 2:32: metadata.namespace \"elsewhere\" is not used: this process serves \"default\"\n"
        "line 3:7: this Server offers no capabilities: only Models that name it in spec.server "
        "will be placed on it\n"
        "line 3:33: podSpec has no effect here: model servers are started elsewhere\n");
}

static void kinds_that_are_not_taken_say_why(void **state)
{
    (void)state;
    assert_refused("kind: Model\nmetadata: {name: e}\nspec: {}\n---\nkind: SeldonRuntime\n---\nkind: "
                   "Deployment\n---\nmetadata: {name: x}\n---\nspam\n",
                   "line 5:7: kind SeldonRuntime belongs to a Kubernetes installation of Seldon "
                   "and has no meaning here\n"
                   "line 7:7: unknown kind \"Deployment\": Model, Pipeline, Experiment or Server is wanted\n"
                   "line 9:1: kind is missing: Model, Pipeline, Experiment or Server\n"
                   "line 11:1: names with values are wanted here\n");
}

#define EXPERIMENT(spec) "kind: Experiment\nmetadata: {name: e}\nspec:\n" spec

static void experiments_are_read_and_every_mistake_is_told(void **state)
{
    struct applied a = apply(EXPERIMENT("  default: x\n  candidates: [{name: x, weight: 50}, {name: y, weight: 150}]\n"
                                        "  mirror: {name: z, percent: 30}\n  resourceType: pipeline\n"));
    const struct flow_experiment *x;

    (void)state;
    assert_true(a.ok);
    x = &a.list[0]->experiment.def;
    assert_false(x->model);
    assert_str(x->default_name, "x");
    assert_int_equal(x->candidates_n, 2);
    assert_int_equal(x->total, 200);
    assert_str(x->mirror, "z");
    assert_int_equal(x->mirror_percent, 30);
    drop(&a);
    assert_refused(EXPERIMENT("  default: w\n  candidate: [x]\n  candidates:\n  - {name: x, weight: 1}\n  - {name: x, weight: -1}\n"
                              "  - {weight: 2}\n  -\n  mirror: {name: x, percent: 101}\n  resourceType: server\n"),
                   "line 4:12: default: w is not among the candidates\n"
                   "line 5:3: unknown field \"candidate\" in spec; known are resourceType, default, mirror, candidates\n"
                   "line 8:5: candidates: x is there twice\n"
                   "line 8:23: spec.candidates[1].weight: a whole number from 0 to 4294967295 is wanted, not \"-1\"\n"
                   "line 9:5: candidates: the name of a model or pipeline is wanted, not \"\"\n"
                   "line 10:4: spec.candidates[3] is empty\n"
                   "line 11:11: mirror: x is a candidate already\n"
                   "line 11:30: spec.mirror.percent: a whole number from 0 to 100 is wanted, not \"101\"\n"
                   "line 12:17: resourceType: model or pipeline is wanted, not \"server\"\n");
    assert_refused(EXPERIMENT("  candidates: [{name: x}, {name: y, weight: 0}]\n"),
                   "line 4:15: candidates: all weights are 0, so none would ever be chosen\n");
    assert_refused(EXPERIMENT("  mirror: {name: x, percent: 5}\n"), "line 4:3: spec.candidates: at least one is needed\n");
}

static void the_same_resource_twice_is_refused(void **state)
{
    (void)state;
    assert_refused("kind: Model\nmetadata: {name: a}\nspec: {}\n---\nkind: Model\nmetadata: {name: "
                   "a}\nspec: {}\n",
                   "line 5:1: Model a is there twice\n");
}

static void status_is_ignored_and_metadata_must_be_there(void **state)
{
    (void)state;
    assert_taken(
        "kind: Model\nmetadata: {name: a}\nspec: {storageUri: x}\nstatus: {whatever: [1]}\n", "");
    assert_refused("kind: Model\nspec: {}\n", "line 1:1: metadata.name is missing\n");
    assert_refused("kind: Model\nmetadata: {name: a}\n", "line 1:1: spec is missing\n");
}

static void a_name_must_fit_into_topic_names(void **state)
{
    (void)state;
    struct buf b = {0};
    buf_append_str(&b, STR("kind: Model\nspec: {}\nmetadata:\n  name: "));
    for (int i = 0; i < 220; i++)
        buf_append_byte(&b, 'a');
    assert_refused(buf_cstr(&b),
                   "line 4:9: metadata.name has 220 characters: topic names leave room for 217\n");
    buf_fini(&b);
}

/* ---- pipelines ---- */

static void references_are_normalised(void **state)
{
    (void)state;
    struct applied a =
        apply(PIPELINE("  steps:\n  - name: a\n  - name: b\n    inputs: [p, a, a.inputs.X, "
                       "p.inputs.Y]\n    triggers: [a.outputs.Z]\n"
                       "    inputsJoinType: any\n    triggersJoinType: outer\n    joinWindowMs: "
                       "7\n    tensorMap: {a.outputs.X: Q, p.inputs.Y: R}\n"
                       "  output:\n    steps: [a.outputs.U, b]\n    stepsJoin: outer\n    "
                       "tensorMap: {a.outputs.U: V}\n"));
    assert_lines(&a.problems, "");
    assert_lines(&a.warnings, "");
    const struct flow_pipeline_def *d = &a.list[0]->pipeline.def;
    assert_int_equal(d->steps_n, 2);
    assert_int_equal(d->steps[0].inputs_n, 0);
    const struct flow_step_def *b = &d->steps[1];
    assert_int_equal(b->inputs_n, 4);
    assert_int_equal(b->inputs[0].step.n, 0);
    assert_true(b->inputs[0].inputs);
    assert_str(b->inputs[1].step, "a");
    assert_false(b->inputs[1].inputs);
    assert_int_equal(b->inputs[1].tensor.n, 0);
    assert_true(b->inputs[2].inputs);
    assert_str(b->inputs[2].tensor, "X");
    assert_int_equal(b->inputs[3].step.n, 0);
    assert_str(b->inputs[3].tensor, "Y");
    assert_str(b->triggers[0].tensor, "Z");
    assert_int_equal(b->inputs_join, FLOW_ANY);
    assert_int_equal(b->triggers_join, FLOW_OUTER);
    assert_int_equal(b->join_window_ms, 7);
    assert_int_equal(b->renames_n, 2);
    assert_str(b->renames[1].source, "p");
    assert_true(b->renames[1].inputs);
    assert_str(b->renames[1].name, "R");
    assert_true(d->has_output);
    assert_int_equal(d->output_n, 2);
    assert_str(d->output[0].tensor, "U");
    assert_int_equal(d->output_join, FLOW_OUTER);
    assert_str(d->output_renames[0].name, "V");
    drop(&a);
}

static void every_mistake_of_a_pipeline_is_told_at_once_with_its_line(void **state)
{
    (void)state;
    assert_refused(
        PIPELINE(
            "  steps:\n  - name: p\n  - name: a\n  - name: a\n  - name: Bad\n  - inputs: [a]\n  -\n"
            "  - name: b\n    input: x\n    inputs: [null, '.x', a.b, a.outputs.x.y, gone, "
            "p.outputs, a, a.outputs]\n"
            "    triggers: ['', lost.outputs.t, a]\n    inputsJoinType: left\n    joinWindowMs: "
            "-1\n"
            "    tensorMap: {a: x, none.outputs.t: y, a.outputs.t: ''}\n    batch: {size: 2, "
            "rolling: true}\n"
            "  output:\n    steps: [p, zero, a.outputs., a]\n    stepsJoin: most\n"
            "  input:\n    externalInputs: [q.what, '', p, q.step, q.step.s.outputs.t.u, "
            "q.outputs.t.u]\n    externalTriggers: [q.step.s.maybe]\n"),
        "line 6:11: step p: a step must not have the pipeline's name\n"
        "line 8:11: step a is there twice\n"
        "line 9:11: step \"Bad\": no name of a model: a-z, 0-9 and - are allowed, - neither first "
        "nor last\n"
        "line 10:5: spec.steps[4]: the step's name is missing\n"
        "line 11:4: spec.steps[5] is empty\n"
        "line 13:5: unknown field \"input\" in spec.steps[6]; known are name, inputs, triggers, "
        "inputsJoinType, triggersJoinType, joinWindowMs, tensorMap, batch\n"
        "line 14:14: step b: inputs[0] is empty\n"
        "line 14:20: step b: inputs[1] is empty\n"
        "line 14:26: step b: inputs[2]: \"a.b\" is no reference: STEP, STEP.inputs, STEP.outputs "
        "or one of these and .TENSOR is wanted\n"
        "line 14:31: step b: inputs[3]: \"a.outputs.x.y\" is no reference: STEP, STEP.inputs, "
        "STEP.outputs or one of these and .TENSOR is wanted\n"
        "line 14:46: step b: inputs[4]: \"gone\" names no step of this pipeline\n"
        "line 14:52: step b: inputs[5]: the pipeline's own outputs cannot feed its steps\n"
        "line 14:66: step b: inputs[7]: \"a.outputs\" is there twice\n"
        "line 15:15: step b: a.outputs is both an input and a trigger\n"
        "line 15:16: step b: triggers[0] is empty\n"
        "line 15:20: step b: triggers[1]: \"lost\" names no step of this pipeline\n"
        "line 16:21: inputsJoinType: inner, outer or any is wanted, not \"left\"\n"
        "line 17:19: spec.steps[6].joinWindowMs: a whole number from 0 to 4294967295 is wanted, "
        "not \"-1\"\n"
        "line 18:17: tensorMap: \"a\" is no tensor: STEP.inputs.TENSOR or STEP.outputs.TENSOR is "
        "wanted\n"
        "line 18:23: tensorMap: \"none\" names no step of this pipeline\n"
        "line 18:55: tensorMap: the new name of a.outputs.t is missing\n"
        "line 19:31: batch.rolling has never had an effect; batches are built by size alone\n"
        "line 21:13: output: steps[0]: the pipeline itself cannot be an output step\n"
        "line 21:16: output: steps[1]: \"zero\" names no step of this pipeline\n"
        "line 21:22: output: steps[2]: \"a.outputs.\" is no reference: STEP, STEP.inputs, "
        "STEP.outputs or one of these and .TENSOR is wanted\n"
        "line 22:16: stepsJoin: inner, outer or any is wanted, not \"most\"\n"
        "line 24:22: input: externalInputs[0]: \"q.what\" is no reference: PIPELINE or "
        "PIPELINE.step.STEP, then .inputs or .outputs, then .TENSOR is wanted\n"
        "line 24:30: input: externalInputs[1] is empty\n"
        "line 24:34: input: externalInputs[2]: a pipeline cannot be its own input\n"
        "line 24:37: input: externalInputs[3]: \"q.step\" is no reference: PIPELINE or "
        "PIPELINE.step.STEP, then .inputs or .outputs, then .TENSOR is wanted\n"
        "line 24:45: input: externalInputs[4]: \"q.step.s.outputs.t.u\" is no reference: PIPELINE "
        "or PIPELINE.step.STEP, then .inputs or .outputs, then .TENSOR is wanted\n"
        "line 24:67: input: externalInputs[5]: \"q.outputs.t.u\" is no reference: PIPELINE or "
        "PIPELINE.step.STEP, then .inputs or .outputs, then .TENSOR is wanted\n"
        "line 25:24: input: externalTriggers[0]: \"q.step.s.maybe\" is no reference: PIPELINE or "
        "PIPELINE.step.STEP, then .inputs or .outputs, then .TENSOR is wanted\n");
}

static void a_pipeline_needs_steps(void **state)
{
    (void)state;
    assert_refused(PIPELINE("  output: {steps: []}\n"),
                   "line 5:3: spec.steps: a pipeline has at least one step\n");
}

static void cycles_through_inputs_and_triggers_are_named(void **state)
{
    (void)state;
    assert_refused(PIPELINE("  steps:\n  - name: a\n  - name: b\n    inputs: [a, d]\n  - name: c\n "
                            "   triggers: [b]\n  - name: d\n    inputs: [c.outputs.t]\n"),
                   "line 7:5: the steps form a cycle: b -> c -> d -> b (allowCycles: true lets them)\n");
    assert_refused(PIPELINE("  steps:\n  - name: a\n    inputs: [a]\n"),
                   "line 6:5: the steps form a cycle: a -> a (allowCycles: true lets them)\n");
}

static void a_tensor_map_that_never_applies_is_said(void **state)
{
    (void)state;
    assert_taken(
        PIPELINE("  steps:\n  - name: a\n    tensorMap: {p.inputs.x: y}\n  - name: b\n    inputs: "
                 "[a.outputs.t]\n    tensorMap: {a.outputs.u: v}\n"),
        "line 10:17: tensorMap: a.outputs.u is not among what arrives here, so it never applies\n");
}

static void size_is_bounded(void **state)
{
    (void)state;
    struct buf b = {0};
    for (int i = 0; i < 20001; i++)
        buf_printf(&b, "kind: Model\nmetadata: {name: m%d}\nspec: {}\n---\n", i);
    assert_refused(buf_cstr(&b),
                   "line 80001:1: 20001 documents are too many at once: at most 20000\n");
    buf_clear(&b);
    buf_append_str(&b, STR(PIPELINE("  steps:\n  - name: a\n  - name: b\n    inputs:\n")));
    for (int i = 0; i < 20001; i++)
        buf_printf(&b, "    - a.outputs.t%d\n", i);
    assert_refused(
        buf_cstr(&b),
        "line 9:7: step b: inputs: more than 20000 references in one pipeline are too many\n");
    buf_fini(&b);
}

static void inputs_from_other_pipelines_are_taken(void **state)
{
    (void)state;
    assert_taken(PIPELINE("  steps:\n  - name: a\n  input: {externalInputs: [q.step.s.outputs.t, r], externalTriggers: [q], "
                          "joinWindowMs: 5, tensorMap: {r.outputs.x: y}}\n"),
                 "");
    assert_taken(PIPELINE("  steps:\n  - name: a\n  input: {externalInputs: [q.outputs.t], tensorMap: {q.outputs.u: v}}\n"),
                 "line 7:54: input: tensorMap: q.outputs.u is not among the inputs, so it never applies\n");
    assert_refused(PIPELINE("  steps:\n  - name: a\n  input: {externalInputs: [q], tensorMap: {q.outputs.u: ''}}\n"),
                   "line 7:57: input: tensorMap: the new name of q.outputs.u is missing\n");
}

static void batches_are_taken_and_a_window_without_a_size_is_said(void **state)
{
    (void)state;
    assert_taken(PIPELINE("  steps:\n  - name: a\n    batch: {size: 3, windowMs: 20}\n"), "");
    assert_taken(PIPELINE("  steps:\n  - name: a\n    batch: {windowMs: 20}\n"),
                 "line 7:23: step a: batch.windowMs has no effect without a batch.size of 2 or more\n");
}

static void cycles_are_taken_where_they_are_allowed(void **state)
{
    (void)state;
    assert_taken(PIPELINE("  allowCycles: true\n  maxStepRevisits: 3\n  steps:\n  - name: a\n    "
                          "inputs: [p, a]\n    inputsJoinType: any\n"),
                 "");
    assert_taken(PIPELINE("  allowCycles: true\n  steps:\n  - name: a\n    inputs: [p, a]\n    inputsJoinType: any\n"),
                 "line 5:3: maxStepRevisits is 0: every step runs once and the next visit fails the request; how often may a "
                 "step of the cycle a -> a run?\n");
}

/* The shapes of the samples that users have. */
static void known_shapes_of_pipelines_are_taken(void **state)
{
    (void)state;
    static const char *const all[] = {
        /* a chain with renames */
        "  steps:\n  - name: s1\n  - name: s2\n    inputs: [s1]\n    tensorMap: "
        "{s1.outputs.OUTPUT0: INPUT0, s1.outputs.OUTPUT1: INPUT1}\n  output: {steps: [s2]}\n",
        /* another step's inputs */
        "  steps:\n  - name: s1\n  - name: s2\n    inputs: [s1.inputs.INPUT0, "
        "s1.outputs.OUTPUT1]\n    tensorMap: {s1.outputs.OUTPUT1: INPUT1}\n  output: {steps: "
        "[s2]}\n",
        /* a join with a trigger */
        "  steps:\n  - name: s1\n  - name: s2\n  - name: check\n    inputs: [s1.outputs.OUTPUT0]\n "
        "   tensorMap: {s1.outputs.OUTPUT0: INPUT}\n"
        "  - name: s3\n    inputs: [s1.outputs.OUTPUT0, s2.outputs.OUTPUT1]\n    tensorMap: "
        "{s1.outputs.OUTPUT0: INPUT0, s2.outputs.OUTPUT1: INPUT1}\n"
        "    triggers: [check.outputs.OUTPUT]\n  output: {steps: [s3]}\n",
        /* conditions and any */
        "  steps:\n  - name: cond\n  - name: mul10\n    inputs: [cond.outputs.OUTPUT0]\n    "
        "tensorMap: {cond.outputs.OUTPUT0: INPUT}\n  - name: add10\n"
        "    inputs: [cond.outputs.OUTPUT1]\n    tensorMap: {cond.outputs.OUTPUT1: INPUT}\n  "
        "output: {steps: [mul10, add10], stepsJoin: any}\n",
        /* pipeline inputs to different steps, triggers on them */
        "  steps:\n  - name: mul10\n    inputs: [p.inputs.INPUT]\n    triggers: [p.inputs.ok1, "
        "p.inputs.ok2]\n    triggersJoinType: any\n"
        "  - name: add10\n    inputs: [p.inputs.INPUT]\n    triggers: [p.inputs.ok3]\n  output: "
        "{steps: [mul10, add10], stepsJoin: any}\n",
        /* no answer wanted */
        "  steps:\n  - name: s1\n",
    };
    for (size_t i = 0; i < countof(all); i++) {
        struct buf b = {0};
        buf_printf(&b, "kind: Pipeline\nmetadata: {name: p}\nspec:\n%s", all[i]);
        assert_taken(buf_cstr(&b), "");
        buf_fini(&b);
    }
}

/* ---- placement ---- */

static const struct flow_model_def *placed(struct flow_snapshot *s, const char *name)
{
    return map_get_str(&s->model_by_name, str_of(name));
}

static void models_find_their_servers(void **state)
{
    (void)state;
    struct applied a =
        apply("kind: Server\nmetadata: {name: z}\nspec: {address: 'z:1', capabilities: [sklearn, "
              "python]}\n---\n"
              "kind: Server\nmetadata: {name: r}\nspec: {restAddress: 'r:2', capabilities: "
              "[sklearn]}\n---\n"
              "kind: Model\nmetadata: {name: a}\nspec: {requirements: [sklearn]}\n---\n"
              "kind: Model\nmetadata: {name: b}\nspec: {requirements: [sklearn, python], "
              "servedName: other, modelVersion: '2'}\n---\n"
              "kind: Model\nmetadata: {name: c}\nspec: {requirements: [anything], server: z}\n---\n"
              "kind: Model\nmetadata: {name: d}\nspec: {requirements: [onnx, python]}\n---\n"
              "kind: Model\nmetadata: {name: e}\nspec: {server: gone}\n---\n"
              "kind: Model\nmetadata: {name: f}\nspec: {requirements: [xgboost], storageUri: "
              "'file:///models/f', artifactVersion: 3}\n---\n"
              "kind: Model\nmetadata: {name: g}\nspec: {requirements: [xgboost], storageUri: "
              "'gs://models/g'}\n---\n"
              "kind: Model\nmetadata: {name: h}\nspec: {requirements: [xgboost]}\n");
    assert_lines(&a.problems, "");
    struct flow_snapshot *s = snapshot_of(a.list, a.n, FLOW_RECORD_ENDS, 9);
    drop(&a); /* the snapshot stands alone */
    assert_int_equal(s->number, 9);
    assert_int_equal(s->models_n, 8);
    assert_int_equal(placed(s, "a")->target.kind, UPSTREAM_REST);
    assert_str(placed(s, "a")->target.address, "r:2");
    assert_str(placed(s, "a")->target.model, "a");
    assert_int_equal(placed(s, "a")->record, FLOW_RECORD_ENDS);
    assert_int_equal(placed(s, "b")->target.kind, UPSTREAM_GRPC);
    assert_str(placed(s, "b")->target.address, "z:1");
    assert_str(placed(s, "b")->target.model, "other");
    assert_str(placed(s, "b")->target.version, "2");
    assert_str(placed(s, "c")->target.address, "z:1");
    assert_false(placed(s, "d")->placed);
    assert_str(placed(s, "d")->why, "no Server offers all that the model requires: onnx, python");
    assert_str(placed(s, "e")->why, "Server gone, which the model names, is not there");
    assert_int_equal(placed(s, "f")->target.kind, UPSTREAM_XGBOOST);
    assert_true(placed(s, "f")->placed);
    assert_str(placed(s, "f")->target.path, "/models/f/3");
    assert_str(placed(s, "g")->why, "spec.storageUri gs://models/g: the built-in runtime reads "
                                    "absolute paths of this machine only");
    assert_str(placed(s, "h")->why,
               "spec.storageUri is missing: the built-in runtime needs a local file or folder");
    flow_snapshot_unref(&s);
}

static void a_server_that_offers_xgboost_is_preferred_to_the_built_in_runtime(void **state)
{
    (void)state;
    struct applied a = apply(
        "kind: Server\nmetadata: {name: s}\nspec: {address: 's:1', serverConfig: mlserver}\n---\n"
        "kind: Model\nmetadata: {name: m}\nspec: {requirements: [xgboost], storageUri: /m}\n");
    struct flow_snapshot *s = snapshot_of(a.list, a.n, FLOW_RECORD_ALL, 1);
    drop(&a);
    assert_int_equal(placed(s, "m")->target.kind, UPSTREAM_GRPC);
    flow_snapshot_unref(&s);
}

static void pipelines_are_compiled_into_the_snapshot(void **state)
{
    (void)state;
    struct applied a =
        apply(PIPELINE("  steps:\n  - name: a\n  - name: b\n    inputs: [a.outputs.t]\n    "
                       "tensorMap: {a.outputs.t: u}\n  output: {steps: [b]}\n"
                       "  dataflow: {record: errors, cleanTopicsOnDelete: true}\n"));
    a.list[0]->version = 4;
    struct flow_snapshot *s = snapshot_of(a.list, a.n, FLOW_RECORD_ALL, 1);
    drop(&a);
    const struct flow_pipeline_def *p = map_get_str(&s->pipeline_by_name, STR("p"));
    assert_int_equal(p->version, 4);
    assert_int_equal(p->record, FLOW_RECORD_ERRORS);
    assert_true(p->clean_topics_on_delete);
    assert_str(p->steps[1].renames[0].name, "u");
    assert_non_null(p->graph);
    flow_snapshot_unref(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_model_is_read),
        cmocka_unit_test(every_mistake_of_a_model_is_told_at_once_with_its_line),
        cmocka_unit_test(quantities_are_kubernetes_own),
        cmocka_unit_test(a_server_is_read),
        cmocka_unit_test(a_server_without_an_address_is_refused),
        cmocka_unit_test(what_has_no_effect_here_is_said),
        cmocka_unit_test(kinds_that_are_not_taken_say_why),
        cmocka_unit_test(experiments_are_read_and_every_mistake_is_told),
        cmocka_unit_test(the_same_resource_twice_is_refused),
        cmocka_unit_test(status_is_ignored_and_metadata_must_be_there),
        cmocka_unit_test(a_name_must_fit_into_topic_names),
        cmocka_unit_test(references_are_normalised),
        cmocka_unit_test(every_mistake_of_a_pipeline_is_told_at_once_with_its_line),
        cmocka_unit_test(a_pipeline_needs_steps),
        cmocka_unit_test(cycles_through_inputs_and_triggers_are_named),
        cmocka_unit_test(batches_are_taken_and_a_window_without_a_size_is_said),
        cmocka_unit_test(cycles_are_taken_where_they_are_allowed),
        cmocka_unit_test(a_tensor_map_that_never_applies_is_said),
        cmocka_unit_test(size_is_bounded),
        cmocka_unit_test(inputs_from_other_pipelines_are_taken),
        cmocka_unit_test(known_shapes_of_pipelines_are_taken),
        cmocka_unit_test(models_find_their_servers),
        cmocka_unit_test(a_server_that_offers_xgboost_is_preferred_to_the_built_in_runtime),
        cmocka_unit_test(pipelines_are_compiled_into_the_snapshot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
