/* Lists are short (three to a dozen), so everything here is a linear walk.
 * SPDX-License-Identifier: Apache-2.0 */
#include "flow/headers.h"

static bool starts_nocase(struct str s, const char *prefix)
{
    size_t n = strlen(prefix);

    return s.n >= n && str_eq_nocase((struct str){s.p, n}, (struct str){prefix, n});
}

static bool own_name(struct str name)
{
    return starts_nocase(name, "millrace-");
}

static bool rewritten_name(struct str name)
{
    return str_is(name, "pipeline") || str_is(name, "x-pipeline-version");
}

bool headers_to_caller(struct str name)
{
    return starts_nocase(name, "x-");
}

bool headers_denied(const struct headers_deny *deny, struct str name)
{
    for (size_t i = 0; i < deny->n; i++) {
        struct str p = deny->v[i];
        bool prefix = p.n > 0 && p.p[p.n - 1] == '*';

        if (prefix && name.n >= p.n - 1 &&
            str_eq_nocase((struct str){name.p, p.n - 1}, (struct str){p.p, p.n - 1}))
            return true;
        if (!prefix && str_eq_nocase(name, p)) return true;
    }
    return false;
}

const struct str *headers_get(struct headers h, const char *name)
{
    struct str want = str_of(name);

    for (size_t i = 0; i < h.n; i++)
        if (str_eq_nocase(h.v[i].name, want)) return &h.v[i].value;
    return NULL;
}

static void add(struct headers *h, struct str name, struct str value)
{
    h->v[h->n++] = (struct header){name, value};
}

struct headers headers_admit(struct arena *a, const struct header *v, size_t n,
                             const struct headers_deny *deny, struct str name,
                             struct str request_id)
{
    struct headers h = {.v = arena_array(a, struct header, n + 2)};
    bool has_id = false;

    for (size_t i = 0; i < n; i++) {
        bool id = str_is(v[i].name, "x-request-id");

        if (own_name(v[i].name) || rewritten_name(v[i].name) || headers_denied(deny, v[i].name))
            continue;
        if (id && !v[i].value.n) continue; /* an empty id is no id: ours takes its place */
        has_id |= id;
        add(&h, arena_dup_str(a, v[i].name), arena_dup_str(a, v[i].value));
    }
    add(&h, STR("pipeline"), name);
    if (!has_id) add(&h, STR("x-request-id"), arena_dup_str(a, request_id));
    return h;
}

struct headers headers_rewrite(struct arena *a, struct headers from, struct str pipeline,
                               struct str version)
{
    struct headers h = {.v = arena_array(a, struct header, from.n + 2)};

    for (size_t i = 0; i < from.n; i++) {
        struct str name = from.v[i].name;

        if (!rewritten_name(name) && !own_name(name) && !str_is(name, "x-seldon-alibi-type") &&
            !str_is(name, "x-seldon-alibi-method"))
            add(&h, name, from.v[i].value);
    }
    add(&h, STR("pipeline"), pipeline);
    if (version.n) add(&h, STR("x-pipeline-version"), version);
    return h;
}

static bool has_pair(struct headers h, struct str name, struct str value)
{
    for (size_t i = 0; i < h.n; i++)
        if (str_eq(h.v[i].name, name) && str_eq(h.v[i].value, value)) return true;
    return false;
}

struct headers headers_answer(struct arena *a, struct headers from, const struct header *v,
                              size_t n, const struct headers_deny *deny, struct str step)
{
    struct headers h;

    if (!n && !step.n) return from;
    h = (struct headers){.v = arena_array(a, struct header, from.n + n + 1)};
    for (size_t i = 0; i < from.n; i++)
        if (!own_name(from.v[i].name)) h.v[h.n++] = from.v[i];
    if (step.n) add(&h, STR("seldon-pipeline-errors"), step);
    for (size_t i = 0; i < n; i++)
        if (starts_nocase(v[i].name, "x-") && !headers_denied(deny, v[i].name) &&
            !has_pair(h, v[i].name, v[i].value))
            add(&h, arena_dup_str(a, v[i].name), arena_dup_str(a, v[i].value));
    return h;
}

struct headers headers_call(struct arena *a, struct headers from, struct str model)
{
    struct headers h = {.v = arena_array(a, struct header, from.n + 1)};

    for (size_t i = 0; i < from.n; i++) {
        struct str name = from.v[i].name;
        bool later = false;

        if (!starts_nocase(name, "x-") || str_is(name, "x-seldon-route")) continue;
        for (size_t k = i + 1; k < from.n && !later; k++)
            later = str_eq(from.v[k].name, name);
        if (!later) add(&h, name, from.v[i].value);
    }
    add(&h, STR("seldon-model"), model);
    return h;
}

struct headers headers_copy_to(struct arena *a, struct headers from)
{
    struct headers h = {.v = arena_array(a, struct header, from.n + 1), .n = from.n};

    for (size_t i = 0; i < from.n; i++)
        h.v[i] = (struct header){arena_dup_str(a, from.v[i].name), arena_dup_str(a, from.v[i].value)};
    return h;
}
