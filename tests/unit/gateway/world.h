/* tests/unit/gateway/world.h - a gateway with a real executor, on a bus in memory and toy models.
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "gateway/gateway.h"
#include "net/h2_client.h"
#include "oip/pb.h"
#include "oip/proto.h"
#include "oip/service.h"
#include "support/flow_fixture.h"
#include "test.h"
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

struct world {
    struct fixture f;
    struct tcp *tcp;
    struct gateway *g;
    struct buf got;
    bool ready;
    /* gRPC */
    struct h2_client_shared *h2;
    struct h2_client *client;
    struct gateway_door *door;
};

static UNUSED bool is_ready(void *ctx, struct str *ret_why)
{
    *ret_why = STR("the log is not ready");
    return ((struct world *)ctx)->ready;
}

static UNUSED void on_opened(void *ctx)
{
    (void)ctx;
}
static UNUSED void on_closed(void *ctx, const struct err *why)
{
    (void)why;
    ((struct world *)ctx)->client = NULL;
}

static UNUSED void world_with(struct world *w, struct gateway_options o, const char *const *pipelines,
                       const char *const *models)
{
    struct err e;

    *w = (struct world){.ready = true};
    fixture_options(&w->f);
    w->f.o.message_bytes_max = 32 << 20;
    w->f.o.runs_bytes_max = 64 << 20;
    fixture_open(&w->f);
    fixture_apply(&w->f, pipelines, models);
    w->tcp = tcp_new(w->f.loop);
    o.tcp = w->tcp;
    o.flow = w->f.flow;
    o.upstream = w->f.up;
    if (!o.message_bytes_max) o.message_bytes_max = 1 << 20;
    if (!o.timeout_ms) o.timeout_ms = 120000;
    o.timeout_ms_max = 3600000;
    o.metrics = true;
    o.name = STR("millrace");
    o.version = STR("9.9");
    o.ready = is_ready;
    o.ready_ctx = w;
    assert_int_equal(gateway_new(&o, &w->g, &e), RC_OK);
    gateway_use(w->g, w->f.snapshot);
    assert_int_equal(gateway_listen(&w->g, 1, &(struct gateway_door_options){.listen = STR("127.0.0.1:0")}, &w->door, &e), RC_OK);
}

static UNUSED void world_new(struct world *w)
{
    world_with(w, (struct gateway_options){0},
               (const char *const[]){
                   "chain: mul10; add10 < mul10 map=mul10.outputs.OUTPUT:INPUT; out < add10",
                   "bad: error; out < error", "late: slow; out < slow", "quiet: mul10",
                   "hdrs: hdr; out < hdr", NULL},
               (const char *const[]){"echo", "mul10", "error", NULL});
}

static UNUSED void world_free(struct world *w)
{
    const struct err why = {.rc = RC_CANCELLED};

    gateway_door_close(w->door);
    if (w->client) h2_client_close(w->client, &why);
    gateway_free(w->g);
    tcp_free(w->tcp);
    h2_client_shared_free(w->h2);
    fixture_close(&w->f);
    buf_fini(&w->got);
}

static UNUSED void settle(struct world *w)
{
    for (int i = 0; i < 6; i++) {
        loop_turn(w->f.loop, 0);
        fixture_settle(&w->f);
    }
}


#define assert_in(text, what)                                                                      \
    do {                                                                                           \
        const char *t_ = (text);                                                                   \
        if (!strstr(t_, (what))) fail_msg("wanted \"%s\" in: %s", (what), t_);                     \
    } while (0)

#define assert_not_in(text, what)                                                                  \
    do {                                                                                           \
        const char *t_ = (text);                                                                   \
        if (strstr(t_, (what))) fail_msg("found \"%s\" in: %s", (what), t_);                       \
    } while (0)
