/* flow/def.h - what pipelines and models are, as declared (already checked by control/ and normalised).
 *
 * A flow_snapshot is immutable and shared by all loops; control makes a new one on every change and app hands it to
 * each executor. Strings live in the snapshot's arena. Facts: Seldon Core 2's Pipeline and Model resources.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/arena.h"
#include "base/map.h"
#include "upstream/upstream.h"

enum flow_join { FLOW_INNER, FLOW_OUTER, FLOW_ANY };
/* DEFAULT: what flow.record says. NONE: models called with gateway.models: direct; not to be declared. */
enum flow_record { FLOW_RECORD_DEFAULT, FLOW_RECORD_ALL, FLOW_RECORD_ENDS, FLOW_RECORD_ERRORS, FLOW_RECORD_NONE };

/* step.outputs, step.inputs.tensor, pipeline.inputs … ; step empty = the pipeline's own inputs; tensor empty = all. */
struct flow_ref { struct str step; bool inputs; struct str tensor; };
struct flow_external { struct str pipeline, step; bool inputs; struct str tensor; };  /* step empty: the pipeline itself */
struct flow_external_rename { struct flow_external from; struct str name; };
struct flow_rename { struct str source; bool inputs; struct str tensor, name; };      /* source: step or pipeline name */

struct flow_step_def {
    struct str name;                             /* of the step and of its model */
    struct flow_ref *inputs;    size_t inputs_n;         /* none: the pipeline's inputs */
    struct flow_ref *triggers;  size_t triggers_n;
    enum flow_join inputs_join, triggers_join;
    uint32_t join_window_ms;                     /* 0: the default */
    struct flow_rename *renames; size_t renames_n;
    uint32_t batch_size, batch_window_ms;        /* 0: none */
};

struct graph;
struct flow_pipeline_def {
    struct str name;
    uint32_t version;                            /* 1, 2, … shown to callers as x-pipeline-version */
    int64_t resource_offset;                     /* of its record in the control topic */
    struct flow_step_def *steps; size_t steps_n;
    bool has_output;
    struct flow_ref *output; size_t output_n;    /* none though has_output: the pipeline's inputs are echoed */
    enum flow_join output_join;
    uint32_t output_window_ms;
    struct flow_rename *output_renames; size_t output_renames_n;
    struct flow_external *external_inputs, *external_triggers; size_t external_inputs_n, external_triggers_n;
    enum flow_join external_join, external_triggers_join;
    uint32_t external_window_ms;                 /* 0: the default */
    struct flow_external_rename *external_renames; size_t external_renames_n;
    bool allow_cycles, clean_topics_on_delete;
    uint32_t max_step_revisits;
    int64_t retention_ms;                        /* of its topics when they are made; 0: kafka.topics.config */
    enum flow_record record;
    struct str seldon_uid;                       /* of its version in the original, whose offsets are taken over; empty: none */
    const struct graph *graph;                   /* made by flow_snapshot_seal() */
};

struct flow_model_def {
    struct str name;
    uint32_t version;
    bool placed;                                 /* a Server fits; else `why` says what is missing */
    struct str why;
    struct upstream_target target;
    bool clean_topics_on_delete;
    int64_t retention_ms;
    enum flow_record record;
    const struct graph *graph;                   /* made by flow_snapshot_seal(); for calls to the model itself */
};

/* Candidates share the requests to `default`, and those to the experiment itself, by weight. */
struct flow_candidate { struct str name; uint32_t weight; };
struct flow_experiment {
    struct str name, default_name, mirror;       /* default, mirror: empty when there is none */
    bool model;                                  /* else of pipelines */
    struct flow_candidate *candidates; size_t candidates_n;
    uint64_t total;                              /* of the weights */
    uint32_t mirror_percent;
};

/* Deleted, and what it left (its offsets; clean: its topics too) is not known to be cleared away. */
struct flow_gone { struct str name; bool model, clean; };

struct flow_snapshot {
    struct arena arena;
    uint64_t number;                             /* rises with every change */
    struct flow_pipeline_def **pipelines; size_t pipelines_n;
    struct flow_model_def **models; size_t models_n;
    struct flow_pipeline_def **older; size_t older_n;    /* versions that were replaced, for runs admitted on them */
    struct flow_experiment **experiments; size_t experiments_n;
    struct flow_gone *gone; size_t gone_n;
    /* Made by flow_snapshot_seal(): */
    struct map experiment_by_name, model_default, pipeline_default;  /* name -> struct flow_experiment * */
    struct map pipeline_by_name, model_by_name;  /* name -> struct flow_pipeline_def *, struct flow_model_def * */
    bool sealed;
};
struct flow_snapshot *flow_snapshot_new(void);                       /* empty, one reference, yours to fill */
/* Call once, after `pipelines` and `models` are in place and before the snapshot is shared: compiles every pipeline
 * (flow/graph.h) and fills the maps. A pipeline that cannot run stays in; requests to it are answered with the reason. */
void flow_snapshot_seal(struct flow_snapshot *s);
/* That version of a pipeline, the newest or an older one that is kept; NULL: there is none. */
const struct flow_pipeline_def *flow_snapshot_version(const struct flow_snapshot *s, struct str name, uint32_t version);
struct flow_snapshot *flow_snapshot_ref(struct flow_snapshot *s);    /* counted, any thread */
void flow_snapshot_unref(struct flow_snapshot **s);
