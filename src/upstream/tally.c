/* What became of the calls, for metrics. SPDX-License-Identifier: Apache-2.0 */
#include "net/grpc.h"
#include "net/loop.h"
#include "upstream/internal.h"

enum { TALLIES_MAX = 10000, KEY_MAX = 600 };

static int code_of(const struct op *op, const struct err *e)
{
    if (op->target->kind == UPSTREAM_REST) return op->http_status;
    if (op->grpc_code) return op->grpc_code;
    switch (e->rc) {
    case RC_OK: return GRPC_OK;
    case RC_TIMEOUT: return GRPC_DEADLINE_EXCEEDED;
    case RC_CANCELLED: return GRPC_CANCELLED;
    case RC_UNAVAILABLE: return GRPC_UNAVAILABLE;
    case RC_TOO_LARGE:
    case RC_OVERLOAD: return GRPC_RESOURCE_EXHAUSTED;
    case RC_INVALID: return GRPC_INVALID_ARGUMENT;
    case RC_NOT_FOUND: return GRPC_NOT_FOUND;
    case RC_IO:
    case RC_CORRUPT:
    case RC_EXISTS:
    case RC_DISK_FULL:
    case RC_LOCKED:
    case RC_DENIED:
    case RC_AUTH:
    case RC_UNSUPPORTED:
    case RC_UPSTREAM:
    case RC_UNSELECTED:
    case RC_FATAL: return GRPC_INTERNAL;
    }
    return GRPC_UNKNOWN;
}

static struct upstream_tally *tally_of(struct upstream *u, const struct upstream_target *t,
                                       int code)
{
    bool rest = t->kind == UPSTREAM_REST;
    struct str server = t->kind == UPSTREAM_XGBOOST ? STR("built-in") : t->address;
    char key[KEY_MAX] = {(char)rest, (char)(code >> 8), (char)code};
    size_t server_n = MIN(server.n, (size_t)256), model_n = MIN(t->model.n, (size_t)256);
    struct upstream_tally *tally;
    char *text;

    if (server_n) memcpy(key + 4, server.p, server_n);
    if (model_n) memcpy(key + 5 + server_n, t->model.p, model_n);
    tally = map_get(&u->tallies, bytes_of(key, server_n + model_n + 5));
    if (tally || u->tallies.n >= TALLIES_MAX) return tally;
    tally = xcalloc(1, sizeof *tally + server_n + model_n);
    text = (char *)(tally + 1);
    memcpy(text, key + 4, server_n);
    memcpy(text + server_n, key + 5 + server_n, model_n);
    *tally =
        (struct upstream_tally){{text, server_n}, {text + server_n, model_n}, rest, code, 0, 0};
    map_put(&u->tallies, bytes_of(key, server_n + model_n + 5), tally);
    return tally;
}

void tally_note(struct upstream *u, const struct op *op, const struct err *e)
{
    struct upstream_tally *t = tally_of(u, op->target, code_of(op, e));

    if (!t) return;
    t->calls++;
    t->seconds += (double)(clock_mono_us(loop_clock(u->loop)) - op->begun_us) / 1e6;
}

void upstream_tallies(const struct upstream *u,
                      void (*each)(void *ctx, const struct upstream_tally *t), void *ctx)
{
    struct bytes key;
    void *value;

    for (size_t at = 0; map_next(&u->tallies, &at, &key, &value);)
        each(ctx, value);
}

void tallies_free(struct upstream *u)
{
    map_fini_each(&u->tallies, free);
}
