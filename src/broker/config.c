/* Values are kept as text in the place they were set and parsed into plain fields when something changes, which is
 * rare; whoever needs a setting reads a field. SPDX-License-Identifier: Apache-2.0
 */
#include "broker/config_table.h"
#include "kafka/compress.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

static struct str broker_value(const struct broker_config *c, size_t row);

/* ---- one value ---- */

static const char *type_name(enum config_type t)
{
    static const char *const names[] = {"?",       "boolean", "string", "integer", "short integer",
                                        "integer", "number",  "list",   "class",   "password"};
    return names[t];
}

static double type_min(enum config_type t)
{
    return t == CONFIG_INT ? INT32_MIN : t == CONFIG_SHORT ? INT16_MIN : -9.3e18;
}

static double type_max(enum config_type t)
{
    return t == CONFIG_INT ? INT32_MAX : t == CONFIG_SHORT ? INT16_MAX : 9.3e18;
}

static bool word_in(struct str word, const char *words)
{
    struct str rest = str_of(words), head;

    do {
        str_cut(rest, ' ', &head, &rest);
        if (str_eq(word, head)) return true;
    } while (rest.n);
    return false;
}

static enum rc check_words(const struct config_def *d, struct str v, struct err *e)
{
    struct str rest = v, head;
    bool more = true;

    if (!d->one_of || (!v.n && (d->flags & DEF_EMPTY_OK))) return RC_OK;
    while (more) {
        more = d->type == CONFIG_LIST ? str_cut(rest, ',', &head, &rest) : (head = rest, false);
        if (!word_in(str_trim(head), d->one_of))
            return err_set(e, RC_INVALID, "%s cannot be '" STR_FMT "': one of: %s", d->name,
                           STR_ARG(v), d->one_of);
    }
    return RC_OK;
}

static bool parse_double(struct str v, double *ret)
{
    char text[64], *end;

    if (!v.n || v.n >= sizeof text) return false;
    memcpy(text, v.p, v.n);
    text[v.n] = 0;
    *ret = strtod(text, &end);
    return *end == 0 && !isnan(*ret);
}

static enum rc check_number(const struct config_def *d, struct str v, struct err *e)
{
    double min = d->min < d->max ? MAX(d->min, type_min(d->type)) : type_min(d->type);
    double max = d->min < d->max ? MIN(d->max, type_max(d->type)) : type_max(d->type);
    double x;
    int64_t i;

    if (d->type == CONFIG_DOUBLE) {
        if (!parse_double(v, &x))
            return err_set(e, RC_INVALID, "%s cannot be '" STR_FMT "': a number is wanted", d->name,
                           STR_ARG(v));
        if (d->min < d->max && (x < min || x > max))
            return err_set(e, RC_INVALID, "%s cannot be " STR_FMT ": from %g to %g", d->name,
                           STR_ARG(v), min, max);
        return RC_OK;
    }
    if (!str_to_i64(v, &i))
        return err_set(e, RC_INVALID, "%s cannot be '" STR_FMT "': an integer is wanted", d->name,
                       STR_ARG(v));
    if ((double)i < min)
        return err_set(e, RC_INVALID, "%s cannot be " STR_FMT ": at least %.0f", d->name,
                       STR_ARG(v), min);
    if ((double)i > max)
        return err_set(e, RC_INVALID, "%s cannot be " STR_FMT ": at most %.0f", d->name, STR_ARG(v),
                       max);
    return RC_OK;
}

/* The last ':' divides: an address may hold others. */
static bool cut_count(struct str entry, struct str *ret_name, int64_t *ret_count)
{
    size_t at = entry.n;

    while (at && entry.p[at - 1] != ':')
        at--;
    if (at < 2) return false;
    *ret_name = (struct str){entry.p, at - 1};
    return str_to_i64((struct str){entry.p + at, entry.n - at}, ret_count) && *ret_count >= 0 &&
           *ret_count <= INT32_MAX;
}

static enum rc check_counts(const struct config_def *d, struct str v, struct err *e)
{
    struct str rest = v, head, name;
    bool more = v.n != 0;
    int64_t n;

    while (more) {
        more = str_cut(rest, ',', &head, &rest);
        if (!cut_count(head, &name, &n))
            return err_set(e, RC_INVALID, "%s cannot be '" STR_FMT "': name:count, …", d->name,
                           STR_ARG(v));
    }
    return RC_OK;
}

static bool are_digits(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < '0' || s.p[i] > '9') return false;
    return s.n != 0;
}

static enum rc check_replicas(const struct config_def *d, struct str v, struct err *e)
{
    struct str rest = v, head, partition, broker;
    bool more = v.n != 0;

    if (str_is(v, "*")) return RC_OK;
    while (more) {
        more = str_cut(rest, ',', &head, &rest);
        if (!str_cut(str_trim(head), ':', &partition, &broker) || !are_digits(partition) ||
            !are_digits(broker))
            return err_set(e, RC_INVALID, "%s cannot be '" STR_FMT "': partition:broker, … or *",
                           d->name, STR_ARG(v));
    }
    return RC_OK;
}

/* As Kafka reads them: two numbers count (three of 0.x), and the numbers of a release's intermediate versions. */
static bool is_release(struct str v)
{
    static const struct {
        const char *name;
        int iv_max;
        bool intermediate_only; /* not released yet when 3.8.1 was */
    } releases[] = {{"0.8.0", -1}, {"0.8.1", -1}, {"0.8.2", -1}, {"0.9.0", -1},   {"0.10.0", 1},
                    {"0.10.1", 2}, {"0.10.2", 0}, {"0.11.0", 2}, {"1.0", 0},      {"1.1", 0},
                    {"2.0", 1},    {"2.1", 2},    {"2.2", 1},    {"2.3", 1},      {"2.4", 1},
                    {"2.5", 0},    {"2.6", 0},    {"2.7", 2},    {"2.8", 1},      {"3.0", 1},
                    {"3.1", 0},    {"3.2", 0},    {"3.3", 3},    {"3.4", 0},      {"3.5", 2},
                    {"3.6", 2},    {"3.7", 4},    {"3.8", 0},    {"3.9", 0, true}};
    size_t dots = str_starts(v, STR("0.")) ? 3 : 2, n = 0;

    while (n < v.n && (v.p[n] != '.' || --dots))
        n++;
    v.n = n;
    for (size_t i = 0; i < countof(releases); i++) {
        struct str name = str_of(releases[i].name);

        if (str_eq(v, name)) return !releases[i].intermediate_only;
        if (v.n == name.n + 4 && str_starts(v, name) && !memcmp(v.p + name.n, "-IV", 3))
            return v.p[v.n - 1] >= '0' && v.p[v.n - 1] - '0' <= releases[i].iv_max;
    }
    return false;
}

int64_t broker_config_count(const struct broker_config *c, const char *key, struct str name,
                            int64_t otherwise)
{
    struct str rest = broker_value(c, broker_config_find(str_of(key))), head, which;
    bool more = rest.n != 0;
    int64_t n;

    while (more) {
        more = str_cut(rest, ',', &head, &rest);
        if (cut_count(head, &which, &n) && str_eq(which, name)) return n;
    }
    return otherwise;
}

static enum rc check_value(const struct config_def *d, struct str as_written, struct err *e)
{
    struct str v = d->type == CONFIG_PASSWORD ? as_written : str_trim(as_written);

    if ((d->flags & DEF_FIXED) && (!d->value || !str_is(v, d->value)))
        return err_set(e, RC_INVALID, "%s cannot be '" STR_FMT "': this broker has only '%s'",
                       d->name, STR_ARG(v), d->value ? d->value : "");
    if (d->flags & DEF_COUNTS) return check_counts(d, v, e);
    if (d->flags & DEF_REPLICAS) return check_replicas(d, v, e);
    if ((d->flags & DEF_RELEASE) && !is_release(v))
        return err_set(e, RC_INVALID,
                       "%s cannot be '" STR_FMT "': a release of Kafka, as 2.8, 2.8.1 or 2.8-IV1",
                       d->name, STR_ARG(v));
    switch (d->type) {
    case CONFIG_BOOL:
        if (str_eq_nocase(v, STR("true")) || str_eq_nocase(v, STR("false"))) return RC_OK;
        return err_set(e, RC_INVALID, "%s cannot be '" STR_FMT "': true or false", d->name,
                       STR_ARG(v));
    case CONFIG_INT:
    case CONFIG_SHORT:
    case CONFIG_LONG:
    case CONFIG_DOUBLE: return check_number(d, v, e);
    case CONFIG_STRING:
    case CONFIG_LIST:
    case CONFIG_CLASS:
    case CONFIG_PASSWORD: return check_words(d, v, e);
    }
    return err_set(e, RC_INVALID, "%s is of the unknown type %s", d->name, type_name(d->type));
}

/* ---- the form that values are kept and shown in ---- */

static void put_list(struct str v, struct buf *b)
{
    struct str rest = v, head;
    bool more = v.n != 0;

    while (more) {
        more = str_cut(rest, ',', &head, &rest);
        head = str_trim(head);
        buf_printf(b, STR_FMT "%s", STR_ARG(head), more ? "," : "");
    }
}

/* The fewest digits that are read as the same number: 0.5, 1.0, 1.0E-4. */
static void put_double(double x, struct buf *b)
{
    char text[64] = "";
    double size = fabs(x);
    bool plain = x == 0 || (size >= 1e-3 && size < 1e7);
    char *at;

    for (int digits = 1; digits <= 20; digits++) {
        snprintf(text, sizeof text, plain ? "%.*f" : "%.*e", digits, x);
        if (strtod(text, NULL) == x) break;
    }
    if ((at = strchr(text, 'e'))) {
        *at = 0;
        buf_printf(b, "%sE%d", text, atoi(at + 1));
    } else {
        buf_printf(b, "%s", text);
    }
}

/* Of a value that was checked: without blanks around it, numbers and words in one way of writing, as in Kafka. */
static void put_normal(const struct config_def *d, struct str as_written, struct buf *b)
{
    struct str v = str_trim(as_written);
    double x;
    int64_t i;

    switch (d->type) {
    case CONFIG_BOOL: buf_printf(b, "%s", str_eq_nocase(v, STR("true")) ? "true" : "false"); return;
    case CONFIG_INT:
    case CONFIG_SHORT:
    case CONFIG_LONG:
        if (str_to_i64(v, &i)) buf_printf(b, "%lld", (long long)i);
        return;
    case CONFIG_DOUBLE:
        if (parse_double(v, &x)) put_double(x, b);
        return;
    case CONFIG_LIST: put_list(v, b); return;
    case CONFIG_STRING:
    case CONFIG_CLASS: buf_printf(b, STR_FMT, STR_ARG(v)); return;
    case CONFIG_PASSWORD: buf_printf(b, STR_FMT, STR_ARG(as_written)); return;
    }
}

static int64_t int_of(struct str v)
{
    int64_t i = 0;
    return str_to_i64(v, &i) ? i : 0;
}

static unsigned cleanup_of(struct str v)
{
    struct str rest = v, head;
    unsigned c = 0;
    bool more;

    do {
        more = str_cut(rest, ',', &head, &rest);
        while (head.n && head.p[0] == ' ')
            head.p++, head.n--;
        c |= str_starts(head, STR("compact"))  ? LOG_CLEANUP_COMPACT
             : str_starts(head, STR("delete")) ? LOG_CLEANUP_DELETE
                                               : 0;
    } while (more);
    return c;
}

/* -1: as the producer sent it. */
static int32_t codec_of(struct str v)
{
    enum kafka_codec codec = KAFKA_CODEC_NONE;

    if (str_is(v, "producer")) return -1;
    return kafka_codec_of_name(v, &codec) ? (int32_t)codec : KAFKA_CODEC_NONE;
}

/* Bit n: the nth word of one_of is there; above bit 8: which one stands first. */
static unsigned words_of(const struct config_def *d, struct str v)
{
    struct str rest = v, head, words, word;
    unsigned found = 0, first = 0, n;
    bool more, more_words;

    do {
        more = str_cut(rest, ',', &head, &rest);
        while (head.n && head.p[0] == ' ')
            head.p++, head.n--;
        words = str_of(d->one_of);
        n = 0;
        do {
            more_words = str_cut(words, ' ', &word, &words);
            if (str_eq(head, word)) {
                if (!found) first = n;
                found |= 1u << n;
            }
            n++;
        } while (more_words);
    } while (more);
    return found | first << 8;
}

static void store_field(void *base, const struct config_def *d, struct str v)
{
    void *p = (char *)base + d->at;
    double x = 0;

    if (!v.p) return;
    switch (d->field) {
    case FIELD_NONE: return;
    case FIELD_BOOL: *(bool *)p = str_eq_nocase(v, STR("true")); return;
    case FIELD_I32: *(int32_t *)p = (int32_t)int_of(v); return;
    case FIELD_U32: *(uint32_t *)p = (uint32_t)int_of(v); return;
    case FIELD_I64: *(int64_t *)p = int_of(v) * (d->scale > 0 ? (int64_t)d->scale : 1); return;
    case FIELD_U64: *(uint64_t *)p = (uint64_t)int_of(v); return;
    case FIELD_DOUBLE: *(double *)p = parse_double(v, &x) ? x : 0; return;
    case FIELD_CLEANUP: *(unsigned *)p = cleanup_of(v); return;
    case FIELD_COMPRESSION: *(int32_t *)p = codec_of(v); return;
    case FIELD_TIME_TYPE: *(bool *)p = str_is(v, "LogAppendTime"); return;
    case FIELD_WORDS: *(unsigned *)p = words_of(d, v); return;
    }
}

/* ---- the broker's ---- */

size_t broker_config_rows(void)
{
    return broker_defs_n;
}

size_t broker_config_find(struct str name)
{
    for (size_t i = 0; i < broker_defs_n; i++)
        if (str_is(name, broker_defs[i].name)) return i;
    return SIZE_MAX;
}

bool broker_config_is_list(size_t row)
{
    return broker_defs[row].type == CONFIG_LIST;
}

static struct str broker_value(const struct broker_config *c, size_t row)
{
    if (c->set[row].dynamic) return str_of(c->set[row].dynamic);
    if (c->set[row].by_default) return str_of(c->set[row].by_default);
    if (c->set[row].from_file) return str_of(c->set[row].from_file);
    return str_of(broker_defs[row].value);
}

void broker_config_init(struct broker_config *c)
{
    memset(c, 0, sizeof *c);
    for (size_t i = 0; i < broker_defs_n; i++)
        store_field(c, &broker_defs[i], str_of(broker_defs[i].value));
}

void broker_config_fini(struct broker_config *c)
{
    for (size_t i = 0; i < broker_defs_n; i++) {
        free(c->set[i].from_file);
        free(c->set[i].by_default);
        free(c->set[i].dynamic);
    }
    memset(c, 0, sizeof *c);
}

static char *text_of(struct str v)
{
    char *s = xcalloc(1, v.n + 1);

    if (v.n) memcpy(s, v.p, v.n);
    return s;
}

/* The new value may be a part of the old one. */
static void text_replace(char **at, struct str value)
{
    char *old = *at;

    *at = value.p ? text_of(value) : NULL;
    free(old);
}

static void text_set(char **at, const struct config_def *d, struct str value)
{
    AUTO(buf_fini) struct buf normal = {0};

    if (value.p) put_normal(d, value, &normal);
    text_replace(at, !value.p ? value : normal.n ? buf_str(&normal) : STR(""));
}

enum rc broker_config_check(enum config_source level, struct str name, struct str value,
                            struct err *e)
{
    size_t row = broker_config_find(name);

    if (row == SIZE_MAX)
        return err_set(e, RC_NOT_FOUND, "unknown broker setting '" STR_FMT "'", STR_ARG(name));
    if (level != CONFIG_SOURCE_STATIC && (broker_defs[row].flags & DEF_READ_ONLY))
        return err_set(
            e, RC_DENIED,
            "%s is set in the configuration file and cannot be changed while the broker runs",
            broker_defs[row].name);
    return value.p ? check_value(&broker_defs[row], value, e) : RC_OK;
}

enum rc broker_config_set(struct broker_config *c, enum config_source level, struct str name,
                          struct str value, struct err *e)
{
    size_t row = broker_config_find(name);
    enum rc rc = broker_config_check(level, name, value, e);
    char **at;

    if (rc) return rc;
    at = level == CONFIG_SOURCE_STATIC           ? &c->set[row].from_file
         : level == CONFIG_SOURCE_DEFAULT_BROKER ? &c->set[row].by_default
                                                 : &c->set[row].dynamic;
    text_set(at, &broker_defs[row], value);
    c->topic_is_known = false;
    store_field(c, &broker_defs[row], broker_value(c, row));
    return RC_OK;
}

void broker_config_note(struct broker_config *c, const char *name, struct str value)
{
    size_t row = broker_config_find(str_of(name));

    must(row != SIZE_MAX);
    text_replace(&c->set[row].from_file, value);
}

struct str broker_config_own(const struct broker_config *c, enum config_source level, size_t row)
{
    return str_of(level == CONFIG_SOURCE_BROKER ? c->set[row].dynamic : c->set[row].by_default);
}

/* ---- a topic's ---- */

size_t topic_config_rows(void)
{
    return TOPIC_CONFIGS_N;
}

size_t topic_config_find(struct str name)
{
    for (size_t i = 0; i < TOPIC_CONFIGS_N; i++)
        if (str_is(name, topic_defs[i].name)) return i;
    return SIZE_MAX;
}

bool topic_config_is_list(size_t row)
{
    return topic_defs[row].type == CONFIG_LIST;
}

const char *topic_config_name(size_t row)
{
    return topic_defs[row].name;
}

enum rc topic_config_check(struct str name, struct str value, struct err *e)
{
    size_t row = topic_config_find(name);

    if (row == SIZE_MAX)
        return err_set(e, RC_NOT_FOUND, "unknown topic setting '" STR_FMT "'", STR_ARG(name));
    return value.p ? check_value(&topic_defs[row], value, e) : RC_OK;
}

enum rc topic_config_set(struct topic_config *t, struct str name, struct str value, struct err *e)
{
    enum rc rc = topic_config_check(name, value, e);
    size_t row = topic_config_find(name);

    if (rc) return rc;
    text_set(&t->set[row], &topic_defs[row], value);
    return RC_OK;
}

/* The broker's value for a topic row, in the topic's unit. Written into `text` when it had to be computed. */
static struct str inherited(const struct broker_config *c, const struct config_def *d,
                            char text[32], size_t *ret_key, size_t *ret_row)
{
    size_t last_key = 0, last_row = SIZE_MAX;

    for (size_t k = 0; k < countof(d->broker) && d->broker[k].key; k++) {
        size_t row = broker_config_find(str_of(d->broker[k].key));
        struct str v;

        if (row == SIZE_MAX) continue;
        v = broker_value(c, row);
        last_key = k, last_row = row;
        if (!v.p) continue;
        *ret_key = k, *ret_row = row;
        if (d->broker[k].scale == 1) return v;
        snprintf(text, 32, "%lld",
                 (long long)(int_of(v) < 0 ? -1 : int_of(v) * d->broker[k].scale));
        return str_of(text);
    }
    *ret_key = last_key, *ret_row = last_row;
    return str_of(d->value);
}

static struct str topic_value(const struct topic_config *t, const struct broker_config *c,
                              size_t row, char text[32])
{
    size_t key, broker_row;

    return t->set[row] ? str_of(t->set[row])
                       : inherited(c, &topic_defs[row], text, &key, &broker_row);
}

/* The deprecated limit sets both newer ones where they are not set themselves. */
static void apply_time_difference(struct topic_config *t, const struct broker_config *c)
{
    static const char *const both[] = {"message.timestamp.before.max.ms",
                                       "message.timestamp.after.max.ms"};
    size_t old = topic_config_find(STR("message.timestamp.difference.max.ms"));
    char text[32], scratch[32];
    struct str limit = topic_value(t, c, old, text);

    if (str_is(limit, topic_defs[old].value)) return;
    for (size_t i = 0; i < countof(both); i++) {
        size_t row = topic_config_find(str_of(both[i]));

        if (!t->set[row] && str_is(topic_value(t, c, row, scratch), topic_defs[row].value))
            store_field(t, &topic_defs[row], limit);
    }
}

static void resolve_all(struct topic_config *t, const struct broker_config *c)
{
    char text[32];

    t->log = log_config_default;
    t->compression = -1;
    for (size_t i = 0; i < TOPIC_CONFIGS_N; i++)
        store_field(t, &topic_defs[i], topic_value(t, c, i, text));
    apply_time_difference(t, c);
}

/* The effective values without the own settings, which stay as they are. */
static void copy_values(struct topic_config *to, const struct topic_config *from)
{
    char *set[TOPIC_CONFIGS_N];

    memcpy(set, to->set, sizeof set);
    *to = *from;
    memcpy(to->set, set, sizeof set);
}

/* Most topics have few settings of their own or none, and there may be very many topics: those start from one that has
 * none. */
void topic_config_resolve(struct topic_config *t, struct broker_config *c)
{
    bool any = false;

    if (!c->topic_is_known) resolve_all(&c->topic, c);
    c->topic_is_known = true;
    copy_values(t, &c->topic);
    for (size_t i = 0; i < TOPIC_CONFIGS_N; i++) {
        if (!t->set[i]) continue;
        store_field(t, &topic_defs[i], str_of(t->set[i]));
        any = true;
    }
    if (any) apply_time_difference(t, c);
}

void topic_config_copy(struct topic_config *to, const struct topic_config *from)
{
    *to = *from;
    for (size_t i = 0; i < TOPIC_CONFIGS_N; i++)
        if (from->set[i]) to->set[i] = xstrdup(from->set[i]);
}

void topic_config_fini(struct topic_config *t)
{
    for (size_t i = 0; i < TOPIC_CONFIGS_N; i++)
        free(t->set[i]);
    memset(t, 0, sizeof *t);
}

/* ---- what DescribeConfigs shows ---- */

static void synonym_add(struct config_row *r, const char *name, struct str value,
                        enum config_source source)
{
    if (!value.p || r->synonyms_n == countof(r->synonyms)) return;
    r->synonyms[r->synonyms_n++] = (struct config_synonym){name, value, source};
}

static void synonyms_of_broker(struct config_row *r, const struct broker_config *c, size_t row)
{
    const struct config_def *d = &broker_defs[row];

    synonym_add(r, d->name, str_of(c->set[row].dynamic), CONFIG_SOURCE_BROKER);
    synonym_add(r, d->name, str_of(c->set[row].by_default), CONFIG_SOURCE_DEFAULT_BROKER);
    synonym_add(r, d->name, str_of(c->set[row].from_file), CONFIG_SOURCE_STATIC);
    synonym_add(r, d->name, str_of(d->value), CONFIG_SOURCE_DEFAULT);
}

static void row_begin(struct config_row *r, const struct config_def *d)
{
    *r = (struct config_row){.name = d->name,
                             .doc = d->doc,
                             .type = d->type,
                             .source = CONFIG_SOURCE_DEFAULT,
                             .read_only = (d->flags & DEF_READ_ONLY) != 0,
                             .sensitive = (d->flags & DEF_SENSITIVE) != 0};
}

/* The strongest of the broker's keys is told as a synonym, and where it was set; as in Kafka, the weaker ones
 * (log.retention.hours) give a value that counts as a default. */
void topic_config_row(const struct topic_config *t, const struct broker_config *c, size_t i,
                      struct config_row *r)
{
    const struct config_def *d = &topic_defs[i];
    size_t key = 0, row = SIZE_MAX;
    struct str v;

    row_begin(r, d);
    v = inherited(c, d, r->text, &key, &row);
    synonym_add(r, d->name, str_of(t->set[i]), CONFIG_SOURCE_TOPIC);
    row = d->broker[0].key ? broker_config_find(str_of(d->broker[0].key)) : SIZE_MAX;
    if (row != SIZE_MAX) synonyms_of_broker(r, c, row);
    r->value = t->set[i] ? str_of(t->set[i]) : v;
    if (r->synonyms_n) r->source = r->synonyms[0].source;
}

enum config_source topic_config_origin(const struct topic_config *t, const struct broker_config *c,
                                       size_t i)
{
    size_t key, row = SIZE_MAX;
    char text[32];

    if (t->set[i]) return CONFIG_SOURCE_TOPIC;
    (void)inherited(c, &topic_defs[i], text, &key, &row);
    return row == SIZE_MAX          ? CONFIG_SOURCE_DEFAULT
           : c->set[row].dynamic    ? CONFIG_SOURCE_BROKER
           : c->set[row].by_default ? CONFIG_SOURCE_DEFAULT_BROKER
           : c->set[row].from_file  ? CONFIG_SOURCE_STATIC
                                    : CONFIG_SOURCE_DEFAULT;
}

void broker_config_row(const struct broker_config *c, size_t i, struct config_row *r)
{
    row_begin(r, &broker_defs[i]);
    synonyms_of_broker(r, c, i);
    r->value = r->sensitive ? (struct str){0} : broker_value(c, i);
    if (r->synonyms_n) r->source = r->synonyms[0].source;
}

const char *broker_config_name(size_t row)
{
    return broker_defs[row].name;
}
