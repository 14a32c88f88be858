/* flow/headers.h - which headers a record carries, and which go to models and callers. Pure.
 *
 * Seldon's contract: a caller's x-* headers travel with every record of its request, a model's x-* answer headers are
 * added behind it, `pipeline` and `x-pipeline-version` are rewritten at every step. Headers whose name starts with
 * "millrace-" are our own: written with a record, never kept in these lists, never sent to models or callers.
 * Order and duplicates are kept. Arrays come from the arena; strings are borrowed unless the function says "copies".
 * Used by: flow/run.c and the executor.     SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/arena.h"
#include "upstream/upstream.h"

struct headers { struct header *v; size_t n; };

/* Patterns of names that are never written: a name, or prefix-* . Compared without case. */
struct headers_deny { const struct str *v; size_t n; };
bool headers_denied(const struct headers_deny *deny, struct str name);

/* The input record: what the caller sent, then `pipeline` = name, then x-request-id unless the caller sent one. Copies. */
struct headers headers_admit(struct arena *a, const struct header *v, size_t n, const struct headers_deny *deny,
                             struct str name, struct str request_id);

/* A record made for the next step or the output: rewritten `pipeline` and `x-pipeline-version` go to the end, the
 * markers of explainers and detectors (x-seldon-alibi-*) are left out. An empty version: none is written. */
struct headers headers_rewrite(struct arena *a, struct headers from, struct str pipeline, struct str version);

/* A model's answer: all of the request record's, then the answer's x-* headers that are not there already with the
 * same value. An error (step not empty) has `seldon-pipeline-errors` = step between them. Copies the answer's. */
struct headers headers_answer(struct arena *a, struct headers from, const struct header *v, size_t n,
                              const struct headers_deny *deny, struct str step);

/* What a model is sent: every x-* header but x-seldon-route, the last value of each name; then seldon-model. */
struct headers headers_call(struct arena *a, struct headers from, struct str model);

struct headers headers_copy_to(struct arena *a, struct headers from);     /* copies */

bool headers_to_caller(struct str name);                          /* x-* */
const struct str *headers_get(struct headers h, const char *name);     /* the first value, or NULL */
