/* control/resource.h - Model, Pipeline and Server as people declare them: read strictly, checked completely, normalised.
 *
 * A resource is immutable once made. Reading never stops at the first mistake: every problem of every document becomes
 * an entry of `problems`, with its line; what is odd but allowed becomes a warning.
 * Facts: docs/resources.md; the formats are those of Seldon Core 2.
 * Used by: control/, cli.     SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "control/yaml.h"
#include "flow/def.h"

enum resource_kind { RESOURCE_SERVER, RESOURCE_MODEL, RESOURCE_PIPELINE, RESOURCE_EXPERIMENT, RESOURCE_KINDS };      /* in order of dependence */

struct resource_server {
    struct str address, rest_address;            /* HOST:PORT of V2 gRPC and REST; one of them may be empty */
    struct str *capabilities; size_t capabilities_n;
};
struct resource_model {
    struct str storage_uri, server, served_name, version;      /* empty when not given */
    struct str *requirements; size_t requirements_n;
    uint32_t artifact_version;                   /* 0: none */
    bool clean_topics_on_delete;
    int64_t retention_ms;                        /* 0: none given */
    bool has_record; enum flow_record record;    /* dataflow.record; otherwise flow.record of the configuration */
};
struct resource_pipeline {
    struct flow_pipeline_def def;                /* references are normalised; version and record are set by snapshot_of */
    bool has_record;
};
struct resource_experiment { struct flow_experiment def; };
struct resource {
    enum resource_kind kind;
    struct str name;
    uint32_t version;                            /* 1, 2, …; 0 before it is stored */
    int64_t offset, created_ms, updated_ms;      /* of its record */
    struct str json;                             /* apiVersion, kind, metadata and spec as declared */
    struct str seldon_uid;                       /* pipelines: annotation millrace.io/seldon-uid; empty: none */
    struct str why_not;                          /* stored once, but this version does not take it; empty: fine */
    struct str overtaken;                        /* why a later record of it is not taken: it stays what it was; empty: there is none */
    union {
        struct resource_server server;
        struct resource_model model;
        struct resource_pipeline pipeline;
        struct resource_experiment experiment;
    };
    struct resource **older; size_t older_n;     /* pipelines: versions it replaced, updated_ms says when; newest first */
    struct arena arena;
};

const char *resource_kind_name(enum resource_kind k);                      /* "Model" */
bool resource_kind_of(struct str text, enum resource_kind *ret);           /* "Model", "model", "models", "mlm" */

/* "there is no kind "pipline" (did you mean pipeline?); the kinds are server, model, pipeline and experiment". */
void resource_kind_unknown(struct str text, struct buf *b);

/* What is being read, and where to. */
struct resource_input {
    struct str text;                             /* YAML or JSON documents */
    struct str file;                             /* for the problems; may be empty */
    struct str topic_prefix, topic_namespace;    /* of this process: names must fit into topic names */
    struct problems *problems, *warnings;
};
/* Reads all documents. True when there is no problem: *ret (xcalloc'd, NULL when there are none) and its resources are
 * yours. Two documents of one kind and name are a problem. */
bool resources_parse(const struct resource_input *in, struct resource ***ret, size_t *ret_n) MUST_USE;
struct resource *resource_free(struct resource *r);                        /* NULL is fine; returns NULL */
void resources_free(struct resource **list, size_t n);

bool resource_name_valid(struct str name);                                 /* a-z 0-9 and -, not at the ends */
/* A Kubernetes quantity (100Ki, 3Gi, 8M, 1e3, 500m) as whole bytes; false when it is none or no whole number. */
bool quantity_bytes(struct str text, int64_t *ret);

/* What pipeline `name` reads of others: a ring is a problem, what is not there a warning. (between.c) */
void between_check(const struct flow_snapshot *s, struct str name, struct problems *problems, struct problems *warnings);

/* An Experiment among the others: experiment.c. */
void experiment_check(const struct flow_snapshot *s, struct str name, struct problems *problems, struct problems *warnings);
void experiment_copy(struct arena *a, const struct flow_experiment *from, struct str name, struct flow_experiment *to);

/* Turns a set of resources into what flows run. Models are placed: on the Server they name, else on the first by name
 * that has all their requirements, else, if xgboost is all they ask for, in the built-in runtime. */
struct flow_snapshot *snapshot_of(struct resource *const *list, size_t n, enum flow_record record, uint64_t number);
