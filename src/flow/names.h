/* flow/names.h - how topics, groups, record keys and runs are called. Each rule is one function. Pure.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/arena.h"
#include "base/uuid.h"

/* kafka.topicPrefix, namespace; group: kafka.consumerGroupIdPrefix, empty: none. seldon: groups by the original's rule, which
 * has its own namespace (empty when none was given) and spreads models over so many groups. */
struct naming { struct str prefix, ns, group; bool seldon; struct str seldon_ns; uint32_t seldon_gateways; };

struct str name_topic(struct arena *a, const struct naming *n, bool model, struct str name, bool inputs);
struct str name_errors_topic(struct arena *a, const struct naming *n);
struct str name_control_topic(struct arena *a, const struct naming *n, const char *what);    /* "owners" */
/* The group whose members share the numbers of control.owners. */
struct str name_owners_group(struct arena *a, const struct naming *n);
/* The group that holds how far a pipeline's (or model's) inputs are finished. By name, not by version. uid: with the original's
 * rule, that of the pipeline's version there; empty: the name stands for it. */
struct str name_group(struct arena *a, const struct naming *n, bool model, struct str name, struct str uid);
/* "<partition>.<name>.<request id>" */
struct str name_key(struct arena *a, int32_t partition, struct str name, struct str request_id);

/* The millrace-run header. Ours: "<cluster>/<topic id>/<incarnation>/<number>/<attempt>/<deadline>", the deadline in
 * wall-clock ms, 0 for none; of an outside record: "<topic id>/<partition>/<offset>/<attempt>". */
struct run_id {
    bool outside;
    struct str cluster, topic, incarnation;      /* topic: the id's text form; of the inputs topic */
    uint64_t number;
    int32_t partition; int64_t offset;           /* outside */
    uint32_t attempt;                            /* from 1 on */
    int64_t deadline_wall_ms;
    struct str identity;                         /* the run whatever the attempt: what outcomes are matched by */
};
#define RUN_ID_HEADER "millrace-run"
#define VERSION_HEADER "millrace-version"        /* of an input: the pipeline version it was admitted on, in decimal */
bool run_id_parse(struct str s, struct run_id *ret);         /* borrows s; false: not a run id */
struct str run_id_print(struct arena *a, const struct run_id *id);
/* The identity of the outside record at an offset, as run_id_parse() would give it. */
struct str run_id_outside(struct arena *a, struct str topic, int32_t partition, int64_t offset);
