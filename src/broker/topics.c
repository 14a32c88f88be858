/* Topics live in memory; each change is one record of the store's metadata, and the state of now is a record a topic.
 *
 *   record   u8 version (1), u8 kind, then by kind (strings as in Kafka's old encoding):
 *     topic            id, name, internal, partitions, own settings
 *     topic deleted    id
 *     partitions       id, count
 *     topic settings   id, own settings (all of them)
 *     broker setting   level, name, value or null
 *     producer ids     the first id that may not be handed out without another record
 *     others           meta_admin.c, meta_security.c
 * On disk: docs/disk-format.md, "Metadata".   SPDX-License-Identifier: Apache-2.0
 */
#include "base/diag.h"
#include "broker/groups.h"
#include "broker/meta.h"

#include <stdarg.h>
#include <stdio.h>

enum {
    META_VERSION = 1,
    NAME_MAX_BYTES = 249,
    PARTITIONS_PER_TOPIC_MAX = 100000,
    PARTITIONS_MAX = 1000000,
    PRODUCER_ID_BLOCK = 1000,
};

/* ---- finding ---- */

struct topic *broker_topic(struct broker *b, struct str name)
{
    return map_get_str(&b->topics, name);
}

struct topic *topic_by_id(struct broker *b, const struct uuid *id)
{
    return map_get(&b->topics_by_id, bytes_of(id->b, sizeof id->b));
}

/* Where the name is, or would be. */
static size_t sorted_at(const struct broker *b, struct str name)
{
    size_t lo = 0, hi = b->topics_n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;

        if (str_cmp(b->topics_sorted[mid]->name, name) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct topic *broker_topic_after(struct broker *b, struct str name)
{
    size_t i = sorted_at(b, name);

    if (i < b->topics_n && str_eq(b->topics_sorted[i]->name, name)) i++;
    return i < b->topics_n ? b->topics_sorted[i] : NULL;
}

struct topic *broker_topic_next(struct broker *b, const struct topic *after)
{
    size_t i = 0;

    if (after) {
        i = sorted_at(b, after->name);
        if (i < b->topics_n && b->topics_sorted[i] == after) i++;
    }
    return i < b->topics_n ? b->topics_sorted[i] : NULL;
}

struct str topic_name(const struct topic *t)
{
    return t->name;
}
struct uuid topic_uuid(const struct topic *t)
{
    return t->id;
}
int32_t topic_partitions(const struct topic *t)
{
    return t->partitions_n;
}
bool topic_is_internal(const struct topic *t)
{
    return t->internal;
}
uint64_t topic_seq(const struct topic *t)
{
    return t->seq;
}

bool topic_config(struct broker *b, const struct topic *t, struct str name, struct str *ret)
{
    static struct config_row row; /* one loop; the contract says until when */
    size_t i = topic_config_find(name);

    if (i == SIZE_MAX) return false;
    topic_config_row(&t->config, &b->config, i, &row);
    *ret = row.value;
    return true;
}

struct partition *topic_partition(struct topic *t, int32_t number)
{
    struct partition *p;

    if (number < 0 || number >= t->partitions_n) return NULL;
    if ((p = t->partitions[number])) return p;
    p = t->partitions[number] = xnew(struct partition);
    p->topic = t;
    p->number = number;
    list_init(&p->fetches);
    list_init(&p->waits);
    list_init(&p->watches);
    list_init(&p->appends);
    list_init(&p->held_link);
    return p;
}

struct partition *broker_partition(struct broker *b, struct str topic, int32_t number)
{
    struct topic *t = broker_topic(b, topic);

    return t ? topic_partition(t, number) : NULL;
}

struct log *partition_log(struct partition *p)
{
    if (p->log) return p->log;
    p->log = store_log(p->topic->broker->store, &p->topic->id, p->topic->name, (uint32_t)p->number);
    log_set_config(p->log, &p->topic->config.log);
    log_set_owner(p->log, p);
    return p->log;
}

int64_t partition_start(struct partition *p)
{
    return log_start(partition_log(p));
}
int64_t partition_high(struct partition *p)
{
    return log_durable_end(partition_log(p));
}
uint64_t partition_start_seq(struct partition *p)
{
    return log_start_seq(partition_log(p));
}
uint64_t broker_topics_seq(const struct broker *b)
{
    return b->meta_seq;
}
int64_t partition_end(struct partition *p)
{
    return log_end(partition_log(p));
}

/* ---- in memory ---- */

static struct str fold(struct str name, char folded[NAME_MAX_BYTES + 1])
{
    size_t n = MIN(name.n, (size_t)NAME_MAX_BYTES);

    for (size_t i = 0; i < n; i++)
        folded[i] = name.p[i] == '.' ? '_' : name.p[i];
    return (struct str){folded, n};
}

static void topic_insert(struct broker *b, struct topic *t)
{
    char folded[NAME_MAX_BYTES + 1];
    size_t at = sorted_at(b, t->name);

    if (b->topics_n == b->topics_cap) {
        b->topics_cap = MAX(b->topics_cap * 2, (size_t)64);
        b->topics_sorted = xrealloc(b->topics_sorted, b->topics_cap, sizeof *b->topics_sorted);
    }
    memmove(b->topics_sorted + at + 1, b->topics_sorted + at,
            (b->topics_n - at) * sizeof *b->topics_sorted);
    b->topics_sorted[at] = t;
    b->topics_n++;
    b->partitions_n += (size_t)t->partitions_n;
    must(!map_put_str(&b->topics, t->name, t));
    must(!map_put(&b->topics_by_id, bytes_of(t->id.b, sizeof t->id.b), t));
    map_put_str(&b->topics_folded, fold(t->name, folded), t);
}

static void topic_delete(struct topic *t)
{
    for (int32_t i = 0; i < t->partitions_n; i++)
        free(t->partitions[i]);
    free(t->partitions);
    topic_config_fini(&t->config);
    free((char *)(uintptr_t)t->name.p);
    free(t);
}

static void topic_remove(struct broker *b, struct topic *t)
{
    char folded[NAME_MAX_BYTES + 1];
    size_t at = sorted_at(b, t->name);

    must(at < b->topics_n && b->topics_sorted[at] == t);
    memmove(b->topics_sorted + at, b->topics_sorted + at + 1,
            (b->topics_n - at - 1) * sizeof *b->topics_sorted);
    b->topics_n--;
    b->partitions_n -= (size_t)t->partitions_n;
    map_del_str(&b->topics, t->name);
    map_del(&b->topics_by_id, bytes_of(t->id.b, sizeof t->id.b));
    map_del_str(&b->topics_folded, fold(t->name, folded));
    topic_delete(t);
}

static struct topic *topic_make(struct broker *b, struct str name, const struct uuid *id,
                                bool internal, int32_t partitions)
{
    struct topic *t = xnew(struct topic);
    char *text = xcalloc(1, name.n + 1);

    if (name.n) memcpy(text, name.p, name.n);
    t->broker = b;
    t->name = (struct str){text, name.n};
    t->id = *id;
    t->internal = internal;
    t->partitions_n = partitions;
    t->partitions = xnew_array(struct partition *, (size_t)partitions);
    return t;
}

static void topic_widen(struct topic *t, int32_t partitions)
{
    t->partitions = xrealloc(t->partitions, (size_t)partitions, sizeof *t->partitions);
    for (int32_t i = t->partitions_n; i < partitions; i++)
        t->partitions[i] = NULL;
    t->broker->partitions_n += (size_t)(partitions - t->partitions_n);
    t->partitions_n = partitions;
}

/* The effective values, also into the logs that are in use. */
static void topic_resolve(struct topic *t)
{
    topic_config_resolve(&t->config, &t->broker->config);
    for (int32_t i = 0; i < t->partitions_n; i++)
        if (t->partitions[i] && t->partitions[i]->log)
            log_set_config(t->partitions[i]->log, &t->config.log);
}

void topics_fini(struct broker *b)
{
    for (size_t i = 0; i < b->topics_n; i++)
        topic_delete(b->topics_sorted[i]);
    free(b->topics_sorted);
    b->topics_sorted = NULL;
    b->topics_n = b->topics_cap = 0;
    map_fini(&b->topics);
    map_fini(&b->topics_by_id);
    map_fini(&b->topics_folded);
}

/* ---- records ---- */

void meta_begin(struct wr *w, struct buf *out, enum meta_kind kind)
{
    wr_init(w, out);
    wr_i8(w, META_VERSION);
    wr_i8(w, (int8_t)kind);
}

static void put_settings(struct wr *w, const struct topic_config *c)
{
    int32_t n = 0;

    for (size_t i = 0; i < TOPIC_CONFIGS_N; i++)
        n += c->set[i] != NULL;
    wr_i32(w, n);
    for (size_t i = 0; i < TOPIC_CONFIGS_N; i++)
        if (c->set[i]) {
            wr_str(w, false, str_of(topic_config_name(i)));
            wr_bytes(w, false, str_bytes(str_of(c->set[i])));
        }
}

static void put_topic(struct buf *out, const struct topic *t)
{
    struct wr w;

    meta_begin(&w, out, META_TOPIC);
    wr_uuid(&w, t->id);
    wr_str(&w, false, t->name);
    wr_bool(&w, t->internal);
    wr_i32(&w, t->partitions_n);
    put_settings(&w, &t->config);
}

static void put_broker_setting(struct buf *out, enum config_source level, struct str name,
                               struct str value)
{
    struct wr w;

    meta_begin(&w, out, META_BROKER_SETTING);
    wr_i8(&w, (int8_t)level);
    wr_str(&w, false, name);
    wr_bytes_null(&w, false, str_bytes(value));
}

static void put_producer_ids(struct buf *out, int64_t end)
{
    struct wr w;

    meta_begin(&w, out, META_PRODUCER_IDS);
    wr_i64(&w, end);
}

enum rc meta_stage(struct broker *b, const struct buf *record, uint64_t *ret_seq, struct err *e)
{
    enum rc rc = store_meta_append(b->store, buf_view(record), ret_seq, e);

    if (!rc) b->meta_seq = *ret_seq;
    return rc;
}

void topics_meta_snapshot(void *ctx, struct store_meta_sink *sink)
{
    struct broker *b = ctx;
    AUTO(buf_fini) struct buf record = {0};

    for (size_t i = 0; i < broker_config_rows(); i++) {
        static const enum config_source levels[] = {CONFIG_SOURCE_DEFAULT_BROKER,
                                                    CONFIG_SOURCE_BROKER};

        for (size_t k = 0; k < countof(levels); k++) {
            struct str v = broker_config_own(&b->config, levels[k], i);

            if (!v.p) continue;
            buf_clear(&record);
            put_broker_setting(&record, levels[k], str_of(broker_config_name(i)), v);
            store_meta_put(sink, buf_view(&record));
        }
    }
    buf_clear(&record);
    put_producer_ids(&record, b->producer_id_end);
    store_meta_put(sink, buf_view(&record));
    meta_admin_snapshot(b, sink);
    meta_security_snapshot(b, sink);
    for (size_t i = 0; i < b->topics_n; i++) {
        buf_clear(&record);
        put_topic(&record, b->topics_sorted[i]);
        store_meta_put(sink, buf_view(&record));
    }
}

/* Settings unknown to this version (an older one wrote them) are left out and said. */
static void get_settings(struct rd *r, struct topic_config *c)
{
    size_t n = rd_count(r, false, 6, "settings");
    struct err e;

    for (size_t i = 0; i < n && !r->why; i++) {
        struct str name = rd_str(r, false, "name");
        struct bytes value = rd_bytes(r, false, "value");

        if (!r->why && topic_config_set(c, name, bytes_str(value), &e))
            diag(DIAG_WARN, "broker.setting_dropped", KV_CSTR("why", e.text));
    }
}

static enum rc apply_topic(struct broker *b, struct rd *r, struct err *e)
{
    struct uuid id = rd_uuid(r);
    struct str name = rd_str(r, false, "name");
    bool internal = rd_bool(r);
    int32_t partitions = rd_i32(r);
    struct topic *t;

    if (r->why || partitions < 1 || partitions > PARTITIONS_PER_TOPIC_MAX || !name.n ||
        name.n > NAME_MAX_BYTES)
        return err_set(e, RC_CORRUPT, "metadata: a topic's record cannot be read");
    if ((t = broker_topic(b, name)))
        topic_remove(b, t); /* a snapshot repeats what records before it said */
    if ((t = topic_by_id(b, &id))) topic_remove(b, t);
    t = topic_make(b, name, &id, internal, partitions);
    get_settings(r, &t->config); /* resolved when everything is read */
    topic_insert(b, t);
    return RC_OK;
}

static enum rc apply_to_topic(struct broker *b, enum meta_kind kind, struct rd *r, struct err *e)
{
    struct uuid id = rd_uuid(r);
    struct topic *t = topic_by_id(b, &id);
    int32_t n;

    if (r->why) return err_set(e, RC_CORRUPT, "metadata: a record of kind %d is too short", kind);
    if (!t) return RC_OK; /* deleted since */
    if (kind == META_TOPIC_DELETED) {
        topic_remove(b, t);
    } else if (kind == META_PARTITIONS) {
        n = rd_i32(r);
        if (n > PARTITIONS_PER_TOPIC_MAX)
            return err_set(e, RC_CORRUPT, "metadata: %d partitions", n);
        if (n > t->partitions_n) topic_widen(t, n);
    } else {
        topic_config_fini(&t->config);
        get_settings(r, &t->config);
    }
    return RC_OK;
}

static enum rc apply_broker_setting(struct broker *b, struct rd *r)
{
    enum config_source level = (enum config_source)rd_i8(r);
    struct str name = rd_str(r, false, "name");
    struct bytes value = rd_bytes_null(r, false, "value");
    struct err e;

    if (!r->why && broker_config_set(&b->config, level, name, bytes_str(value), &e))
        diag(DIAG_WARN, "broker.setting_dropped", KV_CSTR("why", e.text));
    return RC_OK;
}

static void apply_producer_ids(struct broker *b, struct rd *r)
{
    int64_t end = rd_i64(r);

    b->producer_id_next = b->producer_id_end = MAX(b->producer_id_end, end);
}

enum rc topics_meta_apply(void *ctx, struct bytes record, struct err *e)
{
    struct broker *b = ctx;
    struct rd r;
    enum rc rc = RC_OK;
    int8_t version, kind;

    rd_init(&r, record);
    version = rd_i8(&r);
    kind = rd_i8(&r);
    if (version != META_VERSION)
        return err_set(e, RC_UNSUPPORTED, "metadata: a record of version %d; this program knows %d",
                       version, META_VERSION);
    switch (kind) {
    case META_TOPIC: rc = apply_topic(b, &r, e); break;
    case META_TOPIC_DELETED:
    case META_PARTITIONS:
    case META_TOPIC_SETTINGS: rc = apply_to_topic(b, (enum meta_kind)kind, &r, e); break;
    case META_BROKER_SETTING: rc = apply_broker_setting(b, &r); break;
    case META_PRODUCER_IDS: apply_producer_ids(b, &r); break;
    case META_QUOTA:
    case META_GROUP_SETTINGS:
    case META_CLIENT_METRICS: rc = meta_admin_apply(b, (enum meta_kind)kind, &r, e); break;
    case META_ACL:
    case META_ACL_DELETED:
    case META_SCRAM: rc = meta_security_apply(b, (enum meta_kind)kind, &r, e); break;
    default: return err_set(e, RC_UNSUPPORTED, "metadata: a record of the unknown kind %d", kind);
    }
    if (!rc && r.why)
        return err_set(e, RC_CORRUPT, "metadata: a record of kind %d cannot be read", kind);
    return rc;
}

/* ---- changes ---- */

bool topic_name_ok(struct str name, const char **ret_why)
{
    *ret_why = NULL;
    if (!name.n)
        *ret_why = "it is empty";
    else if (str_is(name, ".") || str_is(name, ".."))
        *ret_why = "'.' and '..' are not allowed";
    else if (name.n > NAME_MAX_BYTES)
        *ret_why = "it is longer than 249 characters";
    for (size_t i = 0; i < name.n && !*ret_why; i++) {
        char c = name.p[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '.' || c == '_' || c == '-'))
            *ret_why = "only letters, digits, '.', '_' and '-' are allowed";
    }
    return !*ret_why;
}

static int16_t refuse(struct err *e, int16_t code, enum rc rc, const char *fmt, ...) PRINTF(4, 5);
static int16_t refuse(struct err *e, int16_t code, enum rc rc, const char *fmt, ...)
{
    char text[sizeof e->text];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    err_set(e, rc, "%s", text);
    return code;
}

/* The order is Kafka's: name, existence, settings, counts. */
int16_t topic_refusal(struct broker *b, const struct broker_topic_spec *spec,
                      struct topic_counts *ret, struct err *e)
{
    char folded[NAME_MAX_BYTES + 1];
    const char *why;
    struct topic *other;
    int32_t partitions = spec->partitions == -1 ? b->config.num_partitions : spec->partitions;
    int32_t replication = spec->replication == -1 ? 1 : spec->replication;

    if (!topic_name_ok(spec->name, &why))
        return refuse(e, KAFKA_ERR_INVALID_TOPIC_EXCEPTION, RC_INVALID,
                      "'" STR_FMT "' is no topic name: %s", STR_ARG(spec->name), why);
    if (broker_topic(b, spec->name))
        return refuse(e, KAFKA_ERR_TOPIC_ALREADY_EXISTS, RC_EXISTS, "topic '" STR_FMT "' exists",
                      STR_ARG(spec->name));
    if ((other = map_get_str(&b->topics_folded, fold(spec->name, folded))))
        return refuse(e, KAFKA_ERR_INVALID_TOPIC_EXCEPTION, RC_INVALID,
                      "'" STR_FMT "' collides with topic '" STR_FMT "': '.' and '_' count as equal",
                      STR_ARG(spec->name), STR_ARG(other->name));
    for (size_t i = 0; i < spec->configs_n; i++) {
        if (!spec->configs[i].value.p)
            return refuse(e, KAFKA_ERR_INVALID_CONFIG, RC_INVALID,
                          "setting '" STR_FMT "' has no value", STR_ARG(spec->configs[i].name));
        if (topic_config_check(spec->configs[i].name, spec->configs[i].value, e))
            return KAFKA_ERR_INVALID_CONFIG;
    }
    if (partitions < 1)
        return refuse(e, KAFKA_ERR_INVALID_PARTITIONS, RC_INVALID,
                      "a topic needs at least one partition");
    if (partitions > PARTITIONS_PER_TOPIC_MAX ||
        (size_t)partitions + b->partitions_n > PARTITIONS_MAX)
        return refuse(e, KAFKA_ERR_INVALID_PARTITIONS, RC_OVERLOAD,
                      "%d partitions are more than this broker takes", partitions);
    if (replication < 1)
        return refuse(e, KAFKA_ERR_INVALID_REPLICATION_FACTOR, RC_INVALID,
                      "the replication factor must be at least 1, or -1 for the default");
    if (replication > 1 && b->opt.refuse_replication)
        return refuse(e, KAFKA_ERR_INVALID_REPLICATION_FACTOR, RC_INVALID,
                      "%d replicas are wanted, and this broker is the only one", replication);
    if (b->topics_n >= b->opt.topics_max)
        return refuse(e, KAFKA_ERR_POLICY_VIOLATION, RC_OVERLOAD,
                      "there are %zu topics already (broker.topicsMax)", b->topics_n);
    if (replication > 1)
        diag(DIAG_INFO, "broker.replication_clamped", KV_STR("topic", spec->name),
             KV_I64("wanted", replication), KV_I64("replicas", 1));
    if (ret) *ret = (struct topic_counts){partitions, 1};
    return 0;
}

enum rc broker_topic_create(struct broker *b, const struct broker_topic_spec *spec,
                            struct topic **ret, uint64_t *ret_seq, struct err *e)
{
    AUTO(buf_fini) struct buf record = {0};
    struct topic_counts counts;
    struct uuid id = uuid_random();
    struct topic *t;

    if (topic_refusal(b, spec, &counts, e)) return err_in(e, "create topic");
    t = topic_make(b, spec->name, &id, spec->internal, counts.partitions);
    for (size_t i = 0; i < spec->configs_n; i++)
        must(!topic_config_set(&t->config, spec->configs[i].name, spec->configs[i].value, e));
    topic_config_resolve(&t->config, &b->config);
    put_topic(&record, t);
    if (meta_stage(b, &record, &t->seq, e)) {
        topic_delete(t);
        return err_in(e, "create topic " STR_FMT, STR_ARG(spec->name));
    }
    topic_insert(b, t);
    if (ret) *ret = t;
    *ret_seq = t->seq;
    return RC_OK;
}

static void drop_logs(struct broker *b, struct topic *t)
{
    uint64_t seq;
    struct err e;

    for (int32_t i = 0; i < t->partitions_n; i++) {
        struct log *log = store_log_find(b->store, &t->id, (uint32_t)i);

        if (t->partitions[i]) {
            partition_gone(t->partitions[i]);
            t->partitions[i]->log = NULL;
        }
        if (log && store_log_delete(b->store, &log, &seq,
                                    &e)) /* the next start finds it without a topic */
            diag(DIAG_WARN, "broker.log_not_deleted", KV_STR("topic", t->name),
                 KV_I64("partition", i), KV_CSTR("why", e.text));
    }
}

enum rc broker_topic_delete(struct broker *b, struct str name, uint64_t *ret_seq, struct err *e)
{
    AUTO(buf_fini) struct buf record = {0};
    struct topic *t = broker_topic(b, name);
    struct wr w;

    if (!t)
        return err_set(e, RC_NOT_FOUND, "delete topic: there is no topic '" STR_FMT "'",
                       STR_ARG(name));
    if (b->groups) groups_topic_gone(b->groups, t->name);
    if (b->groups) groups_topic_gone(b->groups, t->name);
    meta_begin(&w, &record, META_TOPIC_DELETED);
    wr_uuid(&w, t->id);
    if (meta_stage(b, &record, ret_seq, e))
        return err_in(e, "delete topic " STR_FMT, STR_ARG(name));
    drop_logs(b, t);
    topic_remove(b, t);
    return RC_OK;
}

enum rc broker_topic_grow(struct broker *b, struct topic *t, int32_t partitions, uint64_t *ret_seq,
                          struct err *e)
{
    AUTO(buf_fini) struct buf record = {0};
    struct wr w;

    must(partitions > t->partitions_n);
    if (partitions > PARTITIONS_PER_TOPIC_MAX ||
        (size_t)(partitions - t->partitions_n) + b->partitions_n > PARTITIONS_MAX)
        return err_set(e, RC_OVERLOAD, "%d partitions are more than this broker takes", partitions);
    meta_begin(&w, &record, META_PARTITIONS);
    wr_uuid(&w, t->id);
    wr_i32(&w, partitions);
    if (meta_stage(b, &record, ret_seq, e)) return e->rc;
    topic_widen(t, partitions);
    t->seq = *ret_seq;
    return RC_OK;
}

enum rc broker_topic_configure(struct broker *b, struct topic *t, struct topic_config *config,
                               uint64_t *ret_seq, struct err *e)
{
    AUTO(buf_fini) struct buf record = {0};
    struct wr w;

    meta_begin(&w, &record, META_TOPIC_SETTINGS);
    wr_uuid(&w, t->id);
    put_settings(&w, config);
    if (meta_stage(b, &record, ret_seq, e)) return e->rc;
    topic_config_fini(&t->config);
    t->config = *config;
    memset(config, 0, sizeof *config);
    topic_resolve(t);
    t->seq = *ret_seq;
    return RC_OK;
}

enum rc broker_configure(struct broker *b, enum config_source level, struct str name,
                         struct str value, uint64_t *ret_seq, struct err *e)
{
    AUTO(buf_fini) struct buf record = {0};

    if (broker_config_check(level, name, value, e)) return e->rc;
    put_broker_setting(&record, level, name, value);
    if (meta_stage(b, &record, ret_seq, e)) return e->rc;
    must(!broker_config_set(&b->config, level, name, value, e));
    for (size_t i = 0; i < b->topics_n; i++)
        topic_resolve(b->topics_sorted[i]);
    return RC_OK;
}

enum rc broker_producer_id(struct broker *b, int64_t *ret_id, uint64_t *ret_seq, struct err *e)
{
    AUTO(buf_fini) struct buf record = {0};

    if (b->producer_id_next == b->producer_id_end) {
        put_producer_ids(&record, b->producer_id_end + PRODUCER_ID_BLOCK);
        if (meta_stage(b, &record, &b->producer_id_seq, e)) return e->rc;
        b->producer_id_end += PRODUCER_ID_BLOCK;
    }
    *ret_id = b->producer_id_next++;
    *ret_seq = b->producer_id_seq;
    return RC_OK;
}
