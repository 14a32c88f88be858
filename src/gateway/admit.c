/* Before anything of a request is looked at, or its body taken: who calls, and may he? SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "gateway/internal.h"
#include "net/loop.h"

enum { BARRED_S = 60 };

/* A proxy on this machine passes on what comes from others. */
static bool forwarded(const struct exchange *x)
{
    static const char *const names[] = {"forwarded", "x-forwarded-for", "x-real-ip", "via"};
    struct str value;

    for (size_t i = 0; i < countof(names); i++)
        if (exchange_header(x, str_of(names[i]), &value)) return true;
    return false;
}

static void refuse(struct exchange *x, enum auth_verdict v, bool token, const struct err *e)
{
    static const struct { int http, grpc; } codes[] = {
        [AUTH_UNKNOWN] = {401, GRPC_UNAUTHENTICATED}, [AUTH_DENIED] = {403, GRPC_PERMISSION_DENIED}, [AUTH_BARRED] = {429, GRPC_RESOURCE_EXHAUSTED},
        [AUTH_LATER] = {503, GRPC_UNAVAILABLE}};
    struct header h[3];
    size_t n = 0;
    char digits[DECIMAL_MAX];
    struct buf body = {0};
    struct str ignored;

    if (v == AUTH_BARRED || v == AUTH_LATER)
        h[n++] = HEADER("retry-after", decimal(v == AUTH_BARRED ? BARRED_S : 1, digits));
    else if (v == AUTH_UNKNOWN)
        h[n++] = HEADER("www-authenticate", exchange_header(x, STR("authorization"), &ignored) ? STR("Bearer realm=\"millrace\", error=\"invalid_token\"")
                                                                                              : STR("Bearer realm=\"millrace\""));
    else if (token)
        h[n++] = HEADER("www-authenticate", STR("Bearer realm=\"millrace\", error=\"insufficient_scope\""));
    if (x->grpc) {
        exchange_respond_grpc(x, &(struct grpc_reply){.status = codes[v].grpc, .message = str_of(e->text), .headers = h, .headers_n = n}, NULL);
        return;
    }
    h[n++] = HEADER("content-type", STR("application/json"));
    error_body(str_of(e->text), &body);
    exchange_respond(x, codes[v].http, h, n, &body);
}

bool admit(struct gateway *g, struct exchange *x)
{
    struct auth_call c = {.peer = x->peer,
                          .certified = x->certified,
                          .access = access_of(x->method, x->path, x->grpc),
                          .now_ms = loop_now_ms(g->loop),
                          .now_s = clock_wall_ms(loop_clock(g->loop)) / 1000};
    enum auth_verdict v;
    struct err e;

    if (!c.access.roles) return true;
    (void)exchange_header(x, STR("authorization"), &c.authorization);
    if (c.access.management) c.forwarded = forwarded(x);
    v = auth_decide(g->o.auth, &c, &x->token, &e);
    if (v == AUTH_GOOD) return true;
    g->refused[v]++;
    refuse(x, v, x->token, &e);
    return false;
}
