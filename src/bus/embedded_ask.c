/* A request of ours in Kafka's protocol: a connection to the broker that is no socket, for one request and its answer.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "bus/embedded_core.h"
#include "sys/fs.h"

enum { SIZE_BYTES = 4 };

struct ask {
    struct broker_conn conn;
    struct bus_ask *op;
    struct embedded *em;
    struct list link;
    struct buf frame;                    /* a copy: the broker writes into what it reads */
    struct msg end;                      /* a connection cannot end inside its own callbacks */
    bool ending;
};

static void ask_end(struct ask *k)
{
    struct embedded *em = k->em;
    struct bus_ask *a = k->op;

    list_remove(&k->link);
    broker_conn_fini(&k->conn);
    buf_fini(&k->frame);
    free(k);
    op_home(&a->op);
    embedded_unref(em);
}

static void end_run(struct msg *m)
{
    ask_end(container_of(m, struct ask, end));
}

static void end_soon(struct ask *k)
{
    if (k->ending) return;
    k->ending = true;
    k->end.run = end_run;
    mailbox_post(k->em->mailbox, &k->end);
}

static void on_send(struct broker_conn *c, struct broker_reply *y)
{
    struct ask *k = container_of(c, struct ask, conn);
    struct buf *to = &k->op->answer;

    for (size_t i = 0; i < broker_reply_parts(y) && !k->op->op.err.rc; i++) {
        struct broker_part part = broker_reply_part(y, i);

        if (!part.file) buf_append(to, part.bytes);
        else (void)err_keep(file_read_exact(part.file, buf_grow(to, part.n), part.n, part.offset, &k->op->op.err), &k->op->op.err);
    }
    buf_consume(to, MIN(to->n, (size_t)SIZE_BYTES));
    broker_reply_free(y);
    end_soon(k);
}

static void on_close(struct broker_conn *c)
{
    struct ask *k = container_of(c, struct ask, conn);

    if (!k->op->answer.n)
        err_set(&k->op->op.err, RC_INVALID, "the broker does not take this request (an API or a version that it does not serve, or a malformed one)");
    end_soon(k);
}

static void offer(struct ask *k)
{
    (void)broker_conn_frame(&k->conn, k->frame.p, k->frame.n, NULL);     /* LATER: resume() offers it again */
}

static void on_resume(struct broker_conn *c)
{
    struct ask *k = container_of(c, struct ask, conn);

    if (!k->ending) offer(k);
}

static const struct broker_conn_ops ask_ops = {.send = on_send, .close = on_close, .resume = on_resume};

static void ask_run(struct msg *m)
{
    struct bus_ask *a = container_of(m, struct bus_ask, op.msg);
    struct embedded *em = a->priv;
    struct broker_listener *l = broker_listener_first(em->broker);
    struct ask *k;

    if (!op_may_begin(em, &a->op)) return;
    if (!l) {
        op_fail(&a->op, RC_UNSUPPORTED, "the broker has no listener");
        embedded_unref(em);
        return;
    }
    k = xnew(struct ask);
    k->em = em;
    k->op = a;
    buf_append(&k->frame, a->frame);
    list_push(&em->asks, &k->link);
    broker_conn_init(&k->conn, em->broker, l, &ask_ops, STR("inside:0"));
    broker_conn_inside(&k->conn);
    offer(k);
}

void embedded_ask(struct bus *b, struct bus_ask *a)
{
    a->priv = embedded_of(b);
    op_send(a->priv, &a->op, ask_run);
}

/* One whose end is on its way in the mailbox keeps its result. */
void embedded_asks_close(struct embedded *em)
{
    list_each_safe(it, &em->asks)
    {
        struct ask *k = container_of(it, struct ask, link);

        if (k->ending) continue;
        err_set(&k->op->op.err, RC_CANCELLED, "the bus is closed");
        ask_end(k);
    }
}
