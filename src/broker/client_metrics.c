/* A match is "fact=regular expression,…"; all of them must match whole facts. SPDX-License-Identifier: Apache-2.0 */
#include "broker/client_metrics.h"
#include "broker/pattern.h"

static const char *const keys[CLIENT_METRICS_KEYS] = {
    [CLIENT_METRICS_INTERVAL] = "interval.ms",
    [CLIENT_METRICS_MATCH] = "match",
    [CLIENT_METRICS_METRICS] = "metrics",
};
static const char *const facts_known[CLIENT_FACTS] = {
    [CLIENT_FACT_ID] = "client_id",
    [CLIENT_FACT_INSTANCE_ID] = "client_instance_id",
    [CLIENT_FACT_SOFTWARE_NAME] = "client_software_name",
    [CLIENT_FACT_SOFTWARE_VERSION] = "client_software_version",
    [CLIENT_FACT_ADDRESS] = "client_source_address",
    [CLIENT_FACT_PORT] = "client_source_port",
};

const char *client_metrics_key_name(enum client_metrics_key k)
{
    return keys[k];
}

bool client_metrics_key_of(struct str name, enum client_metrics_key *ret)
{
    for (int i = 0; i < CLIENT_METRICS_KEYS; i++)
        if (str_is(name, keys[i])) {
            *ret = (enum client_metrics_key)i;
            return true;
        }
    return false;
}

/* ---- patterns ---- */

/* One "fact=expression", compiled. False: it is none. */
static bool compile(struct str part, enum client_fact *ret_fact, struct pattern **ret)
{
    struct str fact, expression;
    struct err e;

    if (!str_cut(part, '=', &fact, &expression)) return false;
    fact = str_trim(fact), expression = str_trim(expression);
    if (!expression.n) return false;
    for (int i = 0; i < CLIENT_FACTS; i++) {
        if (!str_is(fact, facts_known[i])) continue;
        *ret_fact = (enum client_fact)i;
        return !pattern_new(expression, ret, &e);
    }
    return false;
}

static bool part_matches(struct str part, const struct client_facts *facts)
{
    enum client_fact fact;
    struct pattern *p;
    bool yes;

    if (!compile(part, &fact, &p)) return false;
    yes = pattern_matches(p, facts->fact[fact].p ? facts->fact[fact] : STR(""));
    pattern_free(p);
    return yes;
}

bool client_metrics_match(const struct client_metrics *m, const struct client_facts *facts)
{
    struct str rest = str_of(m->value[CLIENT_METRICS_MATCH]), head;
    bool more = rest.n != 0;

    while (more) {
        more = str_cut(rest, ',', &head, &rest);
        if (!part_matches(head, facts)) return false;
    }
    return true;
}

static enum rc check_match(struct str value, struct err *e)
{
    struct str rest = value, head;
    bool more = value.n != 0;

    while (more) {
        enum client_fact fact;
        struct pattern *p;

        more = str_cut(rest, ',', &head, &rest);
        if (!compile(head, &fact, &p))
            return err_set(e, RC_DENIED, "'" STR_FMT "' is no pattern of clients: fact=expression",
                           STR_ARG(head));
        pattern_free(p);
    }
    return RC_OK;
}

enum rc client_metrics_check(enum client_metrics_key k, struct str value, struct err *e)
{
    int64_t ms;

    if (value.n > CLIENT_METRICS_VALUE_BYTES_MAX)
        return err_set(e, RC_INVALID, "%s is longer than %d bytes", keys[k],
                       CLIENT_METRICS_VALUE_BYTES_MAX);
    if (k == CLIENT_METRICS_MATCH) return check_match(value, e);
    if (k == CLIENT_METRICS_METRICS) return RC_OK;
    if (!str_to_i64(value, &ms) || ms < 100 || ms > 3600000)
        return err_set(e, RC_INVALID, "%s cannot be '" STR_FMT "': from 100 to 3600000", keys[k],
                       STR_ARG(value));
    return RC_OK;
}

/* ---- all of them ---- */

struct client_metrics *client_metrics_get(const struct map *all, struct str name)
{
    return map_get_str(all, name);
}

static void metrics_free(void *p)
{
    struct client_metrics *m = p;

    if (!m) return;
    for (int i = 0; i < CLIENT_METRICS_KEYS; i++)
        free(m->value[i]);
    free((char *)(uintptr_t)m->name.p);
    free(m);
}

void client_metrics_set(struct map *all, struct str name, char *const value[CLIENT_METRICS_KEYS])
{
    struct client_metrics *m = xnew(struct client_metrics);
    char *p = xcalloc(1, name.n + 1);
    bool any = false;

    memcpy(p, name.p, name.n);
    m->name = (struct str){p, name.n};
    for (int i = 0; i < CLIENT_METRICS_KEYS; i++) {
        if (value[i]) m->value[i] = xstrdup(value[i]);
        any |= value[i] != NULL;
    }
    if (any) {
        metrics_free(map_put_str(all, m->name, m));
        return;
    }
    metrics_free(map_del_str(all, m->name));
    metrics_free(m);
}

void client_metrics_fini(struct map *all)
{
    map_fini_each(all, metrics_free);
}
