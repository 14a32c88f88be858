/* tests/support/flow_fixture.h - an executor on simulated time, a bus in memory and toy models.
 *
 * Pipelines are written in one line:
 *     "p: mul10; add10 < mul10.outputs.OUTPUT ! echo join=any map=mul10.outputs.OUTPUT:X window=50; out < add10 join=outer"
 * "in < q.outputs.T,q.step.m ! r" is the input section: what comes from other pipelines.
 * "cycles=N" at any step allows cycles, with so many visits. A step, then after < its inputs, after ! its triggers (refs with commas, no blanks). Without "out" there is no output
 * section, with an empty one the inputs are echoed. Messages are "A=1,2;B=3": FP32 tensors; "A=r1,2" in raw contents.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "fake_bus.h"
#include "fake_upstream.h"
#include "flow/flow.h"
#include "flow/graph.h"
#include "net/loop.h"
#include "sys/clock.h"

struct fixture {
    struct clock_sim clock;
    struct loop *loop;
    struct fake_bus *bus;
    struct upstream *up;
    struct flow *flow;
    struct flow_options o;
    struct flow_snapshot *snapshot;
    uint32_t version;
    const char *older;                           /* version 1 of the first pipeline, which is then applied as version 2 */
};

struct asked { struct flow_request q; struct buf message; bool done; unsigned times; };

struct flow_pipeline_def *fixture_pipeline(struct arena *a, const char *line);
struct flow_snapshot *fixture_snapshot(const char *line);        /* sealed; of this pipeline and its models */
void fixture_open(struct fixture *x);            /* with x->o as it is (fixture_options() first) */
void fixture_options(struct fixture *x);
void fixture_start(struct fixture *x, const char *line);          /* both; line applied, and settled; NULL: nothing is */
void fixture_close(struct fixture *x);
void fixture_reopen(struct fixture *x, const char *incarnation);        /* a crash: the log stays, nothing else */
/* The pipelines (NULL-terminated lines) and a model for every step in them, and for every name in `models`. */
void fixture_apply(struct fixture *x, const char *const *pipelines, const char *const *models);
#define APPLY(x, ...) fixture_apply((x), (const char *const[]){__VA_ARGS__, NULL}, NULL)
void fixture_use_gone(struct fixture *x, struct flow_gone *gone, size_t n);        /* nothing is there, and these are to be cleared away */
void fixture_note_cleared(void *ctx, bool model, struct str name);                /* options.cleared: "pipeline p;" to the struct buf ctx */
void fixture_settle(struct fixture *x);          /* until nothing more happens at this time */
void fixture_advance(struct fixture *x, uint64_t ms);    /* and settles */

void message_write(struct buf *b, const char *text);
struct asked *fixture_ask(struct fixture *x, const char *name, const char *message);         /* does not settle */
struct asked *fixture_ask_model(struct fixture *x, const char *name, const char *message);
struct asked *fixture_ask_with(struct fixture *x, const char *name, const char *message, const struct header *h, size_t n);
struct asked *fixture_ask_key(struct fixture *x, const char *name, const char *message, const char *key);
void fixture_done(struct flow_request *q);          /* what a struct asked has as done */
void asked_free(struct asked *a);
/* "OUTPUT=10,20" of a response (or request) message; borrowed until the next call. */
const char *message_text(struct bytes message);
const char *asked_text(struct asked *a);         /* the answer so, or "error: …" */

/* Two executors of one process, each with a loop and a model server of its own, turned by the test. x is executor 0. */
struct pair { struct fixture x; struct loop *loop; struct upstream *up; struct flow *flow; };
void pair_open(struct pair *p);
void pair_apply(struct pair *p, const char *line);
void pair_settle(struct pair *p);
void pair_advance(struct pair *p, uint64_t ms);
struct asked *pair_ask(struct pair *p, const char *message, const char *key);  /* pipeline p, of executor 1; key NULL: none */
void pair_close(struct pair *p);
