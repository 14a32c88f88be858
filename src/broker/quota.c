/* The strongest entity that has a value decides both the limit and who shares the meter: a user's clients share one unless the
 * entity that decides speaks of client ids. Meters nobody used for all windows are worth as much as new ones, so they are
 * dropped when there are too many.   SPDX-License-Identifier: Apache-2.0
 */
#include "broker/quota.h"
#include "base/buf.h"

#include <arpa/inet.h>
#include <math.h>

enum { THROTTLE_MAX_MS = 1 << 30, CONNECTION_THROTTLE_MAX_MS = QUOTA_WINDOW_MS };

static const char *const keys[QUOTA_KINDS] = {
    [QUOTA_PRODUCE] = "producer_byte_rate",          [QUOTA_FETCH] = "consumer_byte_rate",
    [QUOTA_REQUEST] = "request_percentage",          [QUOTA_MUTATION] = "controller_mutation_rate",
    [QUOTA_CONNECTION] = "connection_creation_rate",
};
static const char *const parts[QUOTA_PARTS] = {
    [QUOTA_USER] = "user", [QUOTA_CLIENT] = "client-id", [QUOTA_IP] = "ip"};

const char *quota_key(enum quota_kind k)
{
    return keys[k];
}

bool quota_kind_of(struct str key, enum quota_kind *ret)
{
    for (int i = 0; i < QUOTA_KINDS; i++)
        if (str_is(key, keys[i])) {
            *ret = (enum quota_kind)i;
            return true;
        }
    return false;
}

const char *quota_part_name(enum quota_part p)
{
    return parts[p];
}

bool quota_part_of(struct str type, enum quota_part *ret)
{
    for (int i = 0; i < QUOTA_PARTS; i++)
        if (str_is(type, parts[i])) {
            *ret = (enum quota_part)i;
            return true;
        }
    return false;
}

/* ---- what may be set ---- */

/* An address in its shortest form, so that it is found however it was written. False: it is none. */
static bool ip_normal(struct str ip, char ret[INET6_ADDRSTRLEN])
{
    unsigned char bytes[16];
    char text[64];

    if (str_is(ip, "localhost")) ip = STR("127.0.0.1");
    if (!ip.n || ip.n >= sizeof text) return false;
    memcpy(text, ip.p, ip.n);
    text[ip.n] = 0;
    for (int i = 0; i < 2; i++) {
        int family = i ? AF_INET6 : AF_INET;

        if (inet_pton(family, text, bytes) == 1)
            return inet_ntop(family, bytes, ret, INET6_ADDRSTRLEN) != NULL;
    }
    return false;
}

enum rc quota_entity_check(const struct quota_entity *who, struct err *e)
{
    char ip[INET6_ADDRSTRLEN];
    bool any = false;

    for (int i = 0; i < QUOTA_PARTS; i++) {
        const struct quota_name *n = &who->part[i];

        any |= n->given;
        if (!n->given || !n->name.p) continue;
        if (!n->name.n) return err_set(e, RC_INVALID, "an empty %s is not supported", parts[i]);
        if (n->name.n > QUOTA_NAME_BYTES_MAX)
            return err_set(e, RC_INVALID, "the %s is too long", parts[i]);
    }
    if (!any) return err_set(e, RC_INVALID, "the quota names no entity");
    if (who->part[QUOTA_IP].given && (who->part[QUOTA_USER].given || who->part[QUOTA_CLIENT].given))
        return err_set(e, RC_INVALID, "an ip cannot be combined with a user or a client-id");
    if (who->part[QUOTA_IP].given && who->part[QUOTA_IP].name.p &&
        !ip_normal(who->part[QUOTA_IP].name, ip))
        return err_set(e, RC_INVALID, "'" STR_FMT "' is no address (and names are not looked up)",
                       STR_ARG(who->part[QUOTA_IP].name));
    return RC_OK;
}

static bool is_whole(enum quota_kind k)
{
    return k == QUOTA_PRODUCE || k == QUOTA_FETCH || k == QUOTA_CONNECTION;
}

enum rc quota_value_check(const struct quota_entity *who, struct str key, double value,
                          struct err *e)
{
    enum quota_kind k;

    if (!quota_kind_of(key, &k) || (k == QUOTA_CONNECTION) != who->part[QUOTA_IP].given)
        return err_set(e, RC_INVALID, "invalid configuration key " STR_FMT, STR_ARG(key));
    if (isnan(value)) return err_set(e, RC_INVALID, "%s must be a number", keys[k]);
    if (value <= 0 && !(k == QUOTA_CONNECTION && value == 0))
        return err_set(e, RC_INVALID, "%s must be greater than 0", keys[k]);
    if (is_whole(k) && value > (k == QUOTA_CONNECTION ? 2147483647.0 : 9.2e18))
        return err_set(e, RC_INVALID, "%s is too large", keys[k]);
    if (is_whole(k) && value != floor(value))
        return err_set(e, RC_INVALID, "%s cannot be fractional", keys[k]);
    return RC_OK;
}

/* ---- entities ---- */

static void put_name(struct buf *key, bool given, struct str name)
{
    uint8_t head[3] = {!given ? 0 : name.p ? 2 : 1, (uint8_t)(name.n >> 8), (uint8_t)name.n};

    buf_append(key, bytes_of(head, sizeof head));
    if (given && name.n) buf_append(key, str_bytes(name));
}

static struct bytes key_of(struct buf *key, const struct quota_entity *who)
{
    char ip[INET6_ADDRSTRLEN];

    buf_clear(key);
    for (int i = 0; i < QUOTA_PARTS; i++) {
        struct str name = who->part[i].given ? who->part[i].name : (struct str){0};

        if (i == QUOTA_IP && name.p && ip_normal(name, ip)) name = str_of(ip);
        put_name(key, who->part[i].given, name);
    }
    return buf_view(key);
}

struct quota *quotas_get(const struct quotas *q, const struct quota_entity *who)
{
    AUTO(buf_fini) struct buf key = {0};

    return map_get(&q->entities, key_of(&key, who));
}

static struct quota *quota_free(struct quota *x)
{
    if (!x) return NULL;
    for (int i = 0; i < QUOTA_PARTS; i++)
        free((char *)(uintptr_t)x->who.part[i].name.p);
    free(x);
    return NULL;
}

static struct quota *quota_new(const struct quota_entity *who)
{
    struct quota *x = xnew(struct quota);

    for (int i = 0; i < QUOTA_PARTS; i++) {
        struct str s = who->part[i].name;
        char *p;

        x->who.part[i].given = who->part[i].given;
        if (!who->part[i].given || !s.p) continue;
        p = xcalloc(1, s.n + 1);
        memcpy(p, s.p, s.n);
        x->who.part[i].name = (struct str){p, s.n};
    }
    return x;
}

static bool is_empty(const struct quota *x)
{
    for (int i = 0; i < QUOTA_KINDS; i++)
        if (x->set[i]) return false;
    return true;
}

bool quotas_set(struct quotas *q, const struct quota_entity *who, enum quota_kind k, bool set,
                double value)
{
    AUTO(buf_fini) struct buf key = {0};
    struct quota *x = map_get(&q->entities, key_of(&key, who));

    if (!x && !set) return true;
    if (!x) {
        if (q->entities_n >= QUOTA_ENTITIES_MAX) return false;
        x = quota_new(who);
        map_put(&q->entities, buf_view(&key), x);
        q->entities_n++;
    }
    q->set_n[k] += (size_t)set - (size_t)x->set[k];
    x->set[k] = set;
    x->value[k] = value;
    if (!is_empty(x)) return true;
    map_del(&q->entities, buf_view(&key));
    q->entities_n--;
    quota_free(x);
    return true;
}

const struct quota *quotas_next(const struct quotas *q, size_t *at)
{
    struct bytes key;
    void *value;

    return map_next(&q->entities, at, &key, &value) ? value : NULL;
}

void quotas_fini(struct quotas *q)
{
    struct bytes key;
    void *value;

    for (size_t at = 0; map_next(&q->entities, &at, &key, &value);)
        quota_free(value);
    map_fini(&q->entities);
    map_fini_each(&q->meters, free);
    free(q->overflow);
    memset(q, 0, sizeof *q);
}

/* ---- what holds ---- */

/* The order in which entities are asked, the strongest first. 'n': by name, 'd': the default, '-': not named. */
static const char order[][QUOTA_PARTS + 1] = {"nn-", "nd-", "n--", "dn-", "dd-",
                                              "d--", "-n-", "-d-", "--n", "--d"};

static bool find(const struct quotas *q, enum quota_kind k, const struct str names[QUOTA_PARTS],
                 struct buf *meter_key, double *ret)
{
    for (size_t i = 0; i < countof(order); i++) {
        struct quota_entity who = {0};
        const struct quota *x;
        bool usable = true;

        for (int p = 0; p < QUOTA_PARTS; p++) {
            who.part[p].given = order[i][p] != '-';
            if (order[i][p] == 'n') who.part[p].name = names[p];
            usable &= order[i][p] == '-' || names[p].p;
        }
        if (!usable || !(x = quotas_get(q, &who)) || !x->set[k]) continue;
        *ret = x->value[k];
        for (int p = 0; p < QUOTA_PARTS; p++) /* the meter is of who asks, also under a default */
            if (who.part[p].given) who.part[p].name = names[p];
        if (meter_key) {
            uint8_t kind = (uint8_t)k;

            key_of(meter_key, &who);
            buf_append(meter_key, bytes_of(&kind, 1));
        }
        return true;
    }
    return false;
}

double quotas_limit(const struct quotas *q, enum quota_kind k, struct str user, struct str client)
{
    struct str names[QUOTA_PARTS] = {user.p ? user : STR(""), client.p ? client : STR("")};
    double limit;

    return quotas_any(q, k) && find(q, k, names, NULL, &limit) ? limit : INFINITY;
}

/* ---- meters ---- */

static struct quota_sample *newest(struct quota_meter *m)
{
    return &m->sample[(m->first + m->n - 1) % countof(m->sample)];
}

static void forget_old(struct quota_meter *m, uint64_t now_ms)
{
    while (m->n && now_ms - m->sample[m->first].at_ms >= QUOTA_SAMPLES * QUOTA_WINDOW_MS) {
        m->first = (uint8_t)((m->first + 1) % countof(m->sample));
        m->n--;
    }
}

static void count(struct quota_meter *m, double amount, uint64_t now_ms)
{
    if (!m->n || now_ms - newest(m)->at_ms >= QUOTA_WINDOW_MS) {
        if (m->n == countof(m->sample)) {
            m->first = (uint8_t)((m->first + 1) % countof(m->sample));
            m->n--;
        }
        m->n++;
        *newest(m) = (struct quota_sample){.at_ms = now_ms};
    }
    newest(m)->sum += amount;
}

/* The rate over what has passed since the oldest sample, but at least all windows but one. */
static double rate(struct quota_meter *m, uint64_t now_ms, double *ret_span_ms)
{
    uint64_t span, windows;
    double sum = 0;

    forget_old(m, now_ms);
    span = m->n ? now_ms - m->sample[m->first].at_ms : 0;
    windows = span / QUOTA_WINDOW_MS;
    if (windows < QUOTA_SPAN_S) span += (QUOTA_SPAN_S - windows) * QUOTA_WINDOW_MS;
    for (uint8_t i = 0; i < m->n; i++)
        sum += m->sample[(m->first + i) % countof(m->sample)].sum;
    *ret_span_ms = (double)span;
    return sum * 1000 / (double)span;
}

static uint32_t to_ms(double ms)
{
    return ms >= THROTTLE_MAX_MS ? THROTTLE_MAX_MS : (uint32_t)(ms + 0.5);
}

uint32_t quota_meter_charge(struct quota_meter *m, double amount, double limit, uint64_t now_ms)
{
    double span, now;

    count(m, amount, now_ms);
    now = rate(m, now_ms, &span);
    return now > limit ? MAX(to_ms((now - limit) / limit * span), 1u) : 0;
}

static bool is_idle(const struct quota_meter *m, uint64_t now_ms)
{
    uint64_t span = QUOTA_SAMPLES * QUOTA_WINDOW_MS;

    if (m->bucket_used && m->tokens + (double)(now_ms - m->tokens_ms) / 1000 * m->tokens_rate <
                              QUOTA_SAMPLES * m->tokens_rate)
        return false;
    return !m->n || now_ms - m->sample[(m->first + m->n - 1) % countof(m->sample)].at_ms >= span;
}

static void drop_idle(struct quotas *q, uint64_t now_ms)
{
    struct bytes key;
    void *value;

    for (size_t at = 0; map_next(&q->meters, &at, &key, &value);) {
        if (!is_idle(value, now_ms)) continue;
        map_del(&q->meters, key);
        free(value);
    }
}

static struct quota_meter *meter(struct quotas *q, struct bytes key, uint64_t now_ms)
{
    struct quota_meter *m = map_get(&q->meters, key);

    if (m) return m;
    if (q->meters.n >= QUOTA_METERS_MAX) drop_idle(q, now_ms);
    if (q->meters.n >= QUOTA_METERS_MAX) {
        if (!q->overflow) q->overflow = xnew(struct quota_meter);
        return q->overflow;
    }
    m = xnew(struct quota_meter);
    map_put(&q->meters, key, m);
    return m;
}

uint32_t quotas_charge(struct quotas *q, enum quota_kind k, struct str user, struct str client,
                       double amount, uint64_t now_ms)
{
    AUTO(buf_fini) struct buf key = {0};
    struct str names[QUOTA_PARTS] = {user.p ? user : STR(""), client.p ? client : STR("")};
    uint32_t ms;
    double limit;

    if (!quotas_any(q, k) || !find(q, k, names, &key, &limit)) return 0;
    ms = quota_meter_charge(meter(q, buf_view(&key), now_ms), amount, limit, now_ms);
    return k == QUOTA_REQUEST ? MIN(ms, (uint32_t)QUOTA_WINDOW_MS) : ms;
}

bool quotas_take(struct quotas *q, struct str user, struct str client, double n, bool strict,
                 uint64_t now_ms, uint32_t *ret_throttle_ms)
{
    AUTO(buf_fini) struct buf key = {0};
    struct str names[QUOTA_PARTS] = {user.p ? user : STR(""), client.p ? client : STR("")};
    struct quota_meter *m;
    bool refused;
    double r;

    if (!quotas_any(q, QUOTA_MUTATION) || !find(q, QUOTA_MUTATION, names, &key, &r)) return true;
    m = meter(q, buf_view(&key), now_ms);
    if (!m->bucket_used) m->tokens = QUOTA_SAMPLES * r;
    m->tokens += m->bucket_used ? (double)(now_ms - m->tokens_ms) / 1000 * r : 0;
    m->tokens = MIN(m->tokens, QUOTA_SAMPLES * r);
    m->tokens_ms = now_ms;
    m->tokens_rate = r;
    m->bucket_used = true;
    refused = strict && m->tokens < 0;
    if (!refused) m->tokens -= n;
    if (m->tokens < 0 && (refused || !strict))
        *ret_throttle_ms = MAX(*ret_throttle_ms, MAX(to_ms(-m->tokens / r * 1000), 1u));
    return !refused;
}

uint32_t quotas_connect(struct quotas *q, struct str ip, uint64_t now_ms)
{
    AUTO(buf_fini) struct buf key = {0};
    struct str names[QUOTA_PARTS] = {[QUOTA_IP] = ip};
    struct quota_meter *m;
    double limit;
    uint32_t ms;

    if (!quotas_any(q, QUOTA_CONNECTION) || !find(q, QUOTA_CONNECTION, names, &key, &limit))
        return 0;
    m = meter(q, buf_view(&key), now_ms);
    ms = quota_meter_charge(m, 1, limit, now_ms);
    if (!ms) return 0;
    count(m, -1, now_ms); /* who is turned away does not count */
    return MIN(ms, (uint32_t)CONNECTION_THROTTLE_MAX_MS);
}
