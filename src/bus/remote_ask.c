/* A request of ours in Kafka's protocol goes by a connection of its own, as administration is rare.
 * SPDX-License-Identifier: Apache-2.0 */
#include "bus/remote_core.h"
#include "bus/wire.h"

enum { ASK_MS = 10000 };

static bool go_on(void *ctx)
{
    return !atomic_load(&((struct remote *)ctx)->ending);
}

static void ask_run(struct remote *r, struct bus_op *op)
{
    struct bus_ask *a = container_of(op, struct bus_ask, op);
    struct wire_options o = {.properties = r->producer_conf, .properties_n = r->producer_conf_n, .node = a->node, .timeout_ms = ASK_MS, .go_on = go_on, .ctx = r};
    struct wire *w;

    if (err_keep(wire_open(&o, &w, &op->err), &op->err)) return;
    (void)err_keep(wire_ask(w, a->frame, &a->answer, &op->err), &op->err);
    wire_close(w);
}

void remote_ask(struct bus *b, struct bus_ask *a)
{
    remote_job_start(b, &a->op, ask_run);
}
