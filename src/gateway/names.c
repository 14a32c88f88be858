/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/internal.h"
#include <stdio.h>
#include <time.h>

enum { ID_BYTES_MAX = 1024 };

static struct str trimmed(struct str s)
{
    while (s.n && (s.p[0] == ' ' || s.p[0] == '\t'))
        s.p++, s.n--;
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

static bool is_model(const struct gateway *g, struct str name)
{
    return g->snapshot && map_get_str(&g->snapshot->model_by_name, name);
}

static bool is_pipeline(const struct gateway *g, struct str name)
{
    return g->snapshot && map_get_str(&g->snapshot->pipeline_by_name, name);
}

bool resource_known(const struct gateway *g, const struct resource *r)
{
    return r->model ? is_model(g, r->name) : is_pipeline(g, r->name);
}

static enum rc experiment_named(const struct gateway *g, struct str name, struct resource *ret, struct err *e)
{
    const struct flow_experiment *x = g->snapshot ? map_get_str(&g->snapshot->experiment_by_name, name) : NULL;

    if (!x) return err_set(e, RC_NOT_FOUND, "experiment " STR_FMT " does not exist", STR_ARG(name));
    *ret = (struct resource){x->default_name.n ? x->default_name : x->candidates[0].name, x->model, x};
    return RC_OK;
}

enum rc resource_named(const struct gateway *g, struct str text, struct resource *ret,
                       struct err *e)
{
    struct str name, kind;

    text = trimmed(text);
    if (!str_cut(text, '.', &name, &kind)) {
        if (!name.n)
            return err_set(
                e, RC_INVALID,
                "the name of a model or pipeline is missing (header seldon-model, or the path)");
        *ret = (struct resource){.name = name, .model = is_model(g, name) || !is_pipeline(g, name)};
        return RC_OK;
    }
    if (name.n && str_is(kind, "experiment")) return experiment_named(g, name, ret, e);
    if (!name.n || (!str_is(kind, "pipeline") && !str_is(kind, "model")))
        return err_set(e, RC_INVALID,
                       "\"" STR_FMT "\" is neither NAME, NAME.model, NAME.pipeline nor NAME.experiment",
                       STR_ARG(text));
    *ret = (struct resource){.name = name, .model = str_is(kind, "model")};
    return RC_OK;
}

bool resource_header(const struct exchange *x, struct str *ret)
{
    return header_last(x->headers, x->headers_n, STR("seldon-internal-model"), ret) ||
           header_last(x->headers, x->headers_n, STR("seldon-model"), ret);
}

enum rc version_check(const struct gateway *g, const struct resource *r, struct str version,
                      struct err *e)
{
    const struct flow_model_def *m =
        r->model && g->snapshot ? map_get_str(&g->snapshot->model_by_name, r->name) : NULL;
    char text[16];

    if (!version.n || !m || str_is(version, "1"))
        return RC_OK; /* "1" is what everybody sends who must send something */
    snprintf(text, sizeof text, "%u", m->version);
    if (str_is(version, text)) return RC_OK;
    return err_set(e, RC_NOT_FOUND, "model " STR_FMT " has no version " STR_FMT " (it has %s)",
                   STR_ARG(r->name), STR_ARG(version), text);
}

/* Twelve bytes (time, this gateway, a counter) in base 32, lower case: sorted by time, unique among gateways. */
struct str request_id_new(struct gateway *g, struct arena *a)
{
    static const char digits[] = "0123456789abcdefghijklmnopqrstuv";
    uint8_t raw[13] = {0};
    char *text = arena_alloc(a, REQUEST_ID_CHARS + 1);
    uint32_t counter = g->id.counter++;

    store_be32(raw, (uint32_t)(clock_wall_ms(loop_clock(g->loop)) / 1000));
    memcpy(raw + 4, g->id.unique, 5);
    raw[9] = (uint8_t)(counter >> 16);
    raw[10] = (uint8_t)(counter >> 8);
    raw[11] = (uint8_t)counter;
    for (size_t i = 0; i < REQUEST_ID_CHARS; i++) {
        size_t bit = i * 5;
        uint32_t two = (uint32_t)raw[bit / 8] << 8 | raw[bit / 8 + 1];

        text[i] = digits[two >> (11 - bit % 8) & 31];
    }
    return (struct str){text, REQUEST_ID_CHARS};
}

struct str request_id_of(struct gateway *g, struct exchange *x)
{
    struct str id = {0};
    bool found = x->grpc ? header_last(x->headers, x->headers_n, STR("x-request-id"), &id)
                         : header_first(x->headers, x->headers_n, STR("x-request-id"), &id);

    if (!found || !id.n || id.n > ID_BYTES_MAX) return request_id_new(g, &x->arena);
    return id;
}

bool timeout_parse(struct str text, uint64_t *ret_ms)
{
    static const struct {
        const char *unit;
        uint64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"", 1000}, {"m", 60000}, {"h", 3600000}};
    uint64_t whole = 0, thousandths = 0, scale = 1000;
    bool point = false, any = false;
    size_t i = 0;

    for (; i < text.n && ((text.p[i] >= '0' && text.p[i] <= '9') || (text.p[i] == '.' && !point));
         i++) {
        if (text.p[i] == '.') {
            point = true;
        } else if (!point) {
            any = true;
            whole = MIN(whole * 10 + (uint64_t)(text.p[i] - '0'), (uint64_t)1 << 40);
        } else if (scale > 1) {
            any = true;
            scale /= 10;
            thousandths += (uint64_t)(text.p[i] - '0') * scale;
        }
    }
    for (size_t u = 0; any && u < countof(units); u++)
        if (str_is((struct str){text.p + i, text.n - i}, units[u].unit)) {
            *ret_ms = whole * units[u].ms + (thousandths * units[u].ms + 999) / 1000;
            return true;
        }
    return false;
}

enum rc deadline_of(const struct gateway *g, struct exchange *x, uint64_t *ret_ms, struct err *e)
{
    uint64_t timeout = UINT64_MAX, other;
    struct str text;

    if (x->grpc && exchange_header(x, STR("grpc-timeout"), &text) &&
        !grpc_timeout_parse(text, &timeout))
        return err_set(e, RC_INVALID, "grpc-timeout \"" STR_FMT "\" is malformed", STR_ARG(text));
    if (exchange_header(x, STR("x-request-timeout"), &text)) {
        if (!timeout_parse(trimmed(text), &other))
            return err_set(e, RC_INVALID,
                           "x-request-timeout \"" STR_FMT
                           "\" is not a number of seconds (or 250ms, 5s, 2m, 1h)",
                           STR_ARG(text));
        timeout = MIN(timeout, other);
    }
    if (timeout == UINT64_MAX) timeout = g->o.timeout_ms;
    *ret_ms = x->arrived_ms + MIN(timeout, g->o.timeout_ms_max);
    return RC_OK;
}
