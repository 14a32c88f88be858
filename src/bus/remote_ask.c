/* A request of ours in Kafka's protocol goes by a connection of its own, as administration is rare. What it logs in with is looked up on
 * the loop, where secrets change; the rest is a worker's. SPDX-License-Identifier: Apache-2.0 */
#include "bus/remote_core.h"
#include "bus/wire.h"
#include <stdio.h>
#include <string.h>

enum { ASK_MS = 10000 };

struct asking {
    struct msg msg;
    struct work work;
    struct remote *r;
    struct bus_ask *ask;
    struct remote_property *properties;          /* owned texts */
    size_t n;
};

static void put(void *ctx, const char *name, struct str value)
{
    struct asking *k = ctx;

    k->properties = xrealloc(k->properties, k->n + 1, sizeof *k->properties);
    k->properties[k->n++] = (struct remote_property){str_own(str_of(name)), str_own(value)};
}

static void asking_free(struct asking *k)
{
    for (size_t i = 0; i < k->n; i++) {
        if (k->properties[i].value.n) explicit_bzero((char *)(uintptr_t)k->properties[i].value.p, k->properties[i].value.n);
        str_drop(&k->properties[i].name);
        str_drop(&k->properties[i].value);
    }
    free(k->properties);
    free(k);
}

static bool go_on(void *ctx)
{
    return !atomic_load(&((struct remote *)ctx)->ending);
}

static void ask_run(struct work *work)
{
    struct asking *k = container_of(work, struct asking, work);
    struct bus_ask *a = k->ask;
    struct wire_options o = {.properties = k->properties, .properties_n = k->n, .node = a->node, .timeout_ms = ASK_MS, .go_on = go_on, .ctx = k->r};
    struct wire *w;

    if (atomic_load(&k->r->ending)) {
        err_set(&a->op.err, RC_CANCELLED, "the bus is closing");
    } else if (!err_keep(wire_open(&o, &w, &a->op.err), &a->op.err)) {
        (void)err_keep(wire_ask(w, a->frame, &a->answer, &a->op.err), &a->op.err);
        wire_close(w);
    }
}

static void ask_done(struct work *work)
{
    struct asking *k = container_of(work, struct asking, work);
    struct bus_op *op = &k->ask->op;

    asking_free(k);
    op->done(op);
}

static void look_up(struct msg *m)
{
    struct asking *k = container_of(m, struct asking, msg);
    struct remote *r = k->r;

    if (r->access) access_each_property(r->access, put, k);
    for (size_t i = 0; i < r->producer_conf_n; i++) {
        char name[256];

        snprintf(name, sizeof name, STR_FMT, STR_ARG(r->producer_conf[i].name));
        put(k, name, r->producer_conf[i].value);
    }
    k->work = (struct work){.run = ask_run, .done = ask_done, .reply_to = k->ask->op.reply_to};
    workers_submit(r->workers, &k->work);
}

void remote_ask(struct bus *b, struct bus_ask *a)
{
    struct asking *k = xnew(struct asking);

    *k = (struct asking){.msg = {.run = look_up}, .r = container_of(b, struct remote, bus), .ask = a};
    mailbox_post(loop_mailbox(k->r->loop), &k->msg);
}

enum rc bus_remote_round_trip(struct bus *b, uint64_t *ret_us, struct err *e)
{
    struct remote *r = container_of(b, struct remote, bus);
    struct remote_sender *admin = remote_admin_hold(r);
    uint64_t begun = clock_mono_us(&clock_real);
    const struct rd_kafka_metadata *md;
    rd_kafka_resp_err_t code = r->k->rd_kafka_metadata(admin->rk, 0, NULL, &md, ASK_MS);

    *ret_us = clock_mono_us(&clock_real) - begun;
    if (!code) r->k->rd_kafka_metadata_destroy(md);
    remote_admin_drop(admin);
    return code ? kafka_lib_error(r->k, code, NULL, e) : RC_OK;
}
