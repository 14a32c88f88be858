/* SPDX-License-Identifier: Apache-2.0 */
#include "net/grpc.h"
#include "upstream/internal.h"
#include "upstream/xgb.h"

enum { HTTP_BAD_REQUEST = 400 };

/* What a model server would have answered: what the asker did wrong is his, the rest is the runtime's. */
static void refused(struct op *op, const struct err *e)
{
    op->grpc_code = e->rc == RC_INVALID ? GRPC_INVALID_ARGUMENT : GRPC_INTERNAL;
    op->http_status = e->rc == RC_INVALID ? HTTP_BAD_REQUEST : 0;
    buf_append_str(&op->message, str_of(e->text));
    op_done(op);
}

static void job_done(void *ctx, const struct err *e, struct buf *response)
{
    struct op *op = ctx;

    op->job = NULL;
    if (e->rc == RC_INVALID || e->rc == RC_UPSTREAM) {
        refused(op, e);
        return;
    }
    if (e->rc) {
        op_failed(op, e);
        return;
    }
    op->response = buf_take(response);
    if (op->query) op->query->ready = true;
    op_done(op);
}

static enum builtin_what what_of(const struct op *op)
{
    if (op->call) return BUILTIN_PREDICT;
    switch (op->query->ask) {
    case UPSTREAM_READY:
    case UPSTREAM_LOAD: return BUILTIN_READY;
    case UPSTREAM_METADATA: return BUILTIN_METADATA;
    case UPSTREAM_UNLOAD: return BUILTIN_UNLOAD;
    }
    must_failed("a new question to the built-in runtime", __FILE__, __LINE__);
}

static void start(struct op *op)
{
    const struct upstream_target *t = op->target;

    op->job = builtin_start(op->u->builtin, what_of(op), t->path, t->model, t->version,
                            op->call ? op->call->request : (struct bytes){0}, job_done, op);
}

static void stop(struct op *op, bool late)
{
    (void)late;
    if (op->job) builtin_forget(op->job);
    op->job = NULL;
}

const struct carrier carrier_builtin = {start, stop};

enum rc upstream_look(const struct upstream_target *t, struct err *e)
{
    return t->kind == UPSTREAM_XGBOOST ? xgb_look(t->path, e) : RC_OK;
}
