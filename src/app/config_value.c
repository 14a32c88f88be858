/* app/config_value.c - texts and nodes become values of the type their row says, and back.
 * SPDX-License-Identifier: Apache-2.0 */
#include "app/config_load.h"
#include "broker/broker.h"
#include "control/resource.h"
#include "net/addr.h"
#include <errno.h>
#include <fnmatch.h>
#include <inttypes.h>

void *config_field(const struct config *c, enum config_key key)
{
    return (char *)(uintptr_t)c + config_rows[key].offset;
}

void config_mark(struct config_loader *l, enum config_key key, const struct config_place *at)
{
    struct config_origin *o = &l->c->origins[key];

    l->places[key] = *at;
    o->from = at->from;
    o->detail = at->line      ? arena_printf(&l->c->arena, STR_FMT ":%" PRIu32 ":%" PRIu32,
                                             STR_ARG(at->file), at->line, at->column)
                : at->label.n ? arena_dup_str(&l->c->arena, at->label)
                              : arena_dup_str(&l->c->arena, at->file);
}

/* ---- numbers ---- */

static void set_number(struct config_loader *l, enum config_key key, struct str text,
                       const struct config_place *at)
{
    const struct config_row *row = &config_rows[key];
    bool size = row->type == CONFIG_SIZE;
    int64_t v;

    if (!(size ? quantity_bytes(text, &v) : str_to_i64(text, &v)) || v < row->low ||
        v > row->high) {
        config_problem(l, at, "%s from %" PRId64 " to %" PRId64 " is wanted, not \"" STR_FMT "\"",
                       size                     ? "a size in bytes (or 64Ki, 1Gi)"
                       : row->type == CONFIG_MS ? "a whole number of milliseconds"
                                                : "a whole number",
                       row->low, row->high, STR_ARG(text));
        return;
    }
    if (row->type == CONFIG_INT)
        *(int64_t *)config_field(l->c, key) = v;
    else
        *(uint64_t *)config_field(l->c, key) = (uint64_t)v;
    config_mark(l, key, at);
}

static void set_ratio(struct config_loader *l, enum config_key key, struct str text,
                      const struct config_place *at)
{
    const struct config_row *row = &config_rows[key];
    struct str copy = arena_dup_str(&l->c->arena, text);
    char *end = NULL;
    double v = strtod(copy.p, &end);

    if (!text.n || end != copy.p + copy.n || !(v >= (double)row->low && v <= (double)row->high)) {
        config_problem(l, at,
                       "a number from %" PRId64 " to %" PRId64 " is wanted, not \"" STR_FMT "\"",
                       row->low, row->high, STR_ARG(text));
        return;
    }
    *(double *)config_field(l->c, key) = v;
    config_mark(l, key, at);
}

/* ---- choices ---- */

static struct str choices_text(struct config_loader *l, const struct config_row *row)
{
    AUTO(buf_fini) struct buf b = {0};
    size_t open = 0, done = 0;

    for (size_t i = 0; i < row->choices_n; i++)
        open += !row->choices[i].later;
    for (size_t i = 0; i < row->choices_n; i++) {
        if (row->choices[i].later) continue;
        done++;
        buf_printf(&b, "%s%s", done == 1 ? "" : done == open ? " or " : ", ", row->choices[i].name);
    }
    return arena_dup_str(&l->c->arena, buf_str(&b));
}

/* The index of the choice, or -1 with a problem. */
static int choice_of(struct config_loader *l, const struct config_row *row, struct str text,
                     const struct config_place *at)
{
    for (size_t i = 0; i < row->choices_n; i++) {
        if (!str_is(text, row->choices[i].name)) continue;
        if (!row->choices[i].later) return (int)i;
        config_problem(l, at, "%s comes with a later version of millrace; this one takes " STR_FMT,
                       row->choices[i].name, STR_ARG(choices_text(l, row)));
        return -1;
    }
    config_problem(l, at, STR_FMT " is wanted, not \"" STR_FMT "\"", STR_ARG(choices_text(l, row)),
                   STR_ARG(text));
    return -1;
}

static void set_choice(struct config_loader *l, enum config_key key, struct str text,
                       const struct config_place *at)
{
    int i;

    if (!text.n) text = str_of(config_rows[key].preset);
    i = choice_of(l, &config_rows[key], text, at);
    if (i < 0) return;
    *(int *)config_field(l->c, key) = i; /* the enum's values are the indexes */
    config_mark(l, key, at);
}

static void set_bool(struct config_loader *l, enum config_key key, struct str text,
                     const struct config_place *at)
{
    const struct config_row *row = &config_rows[key];
    bool yes = str_is(text, "true");

    if (!yes && !str_is(text, "false")) {
        config_problem(l, at, "true or false is wanted, not \"" STR_FMT "\"", STR_ARG(text));
        return;
    }
    if (row->choices_n && choice_of(l, row, text, at) < 0) return;
    *(bool *)config_field(l->c, key) = yes;
    config_mark(l, key, at);
}

/* ---- texts ---- */

static bool all_of(struct str s, const char *others)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              (c && strchr(others, c))))
            return false;
    }
    return true;
}

static bool is_bootstrap(struct str text)
{
    struct str one, host;
    uint16_t port;
    struct err e = {0};
    bool more = true;

    if (str_is(text, "embedded")) return true;
    while (more) {
        more = str_cut(text, ',', &one, &text);
        while (one.n && one.p[0] == ' ')
            one = (struct str){one.p + 1, one.n - 1};
        if (addr_split(one, &host, &port, &e) || !host.n || port == 0) return false;
    }
    return true;
}

static bool is_level(struct str s)
{
    return str_is(s, "error") || str_is(s, "warn") || str_is(s, "info") || str_is(s, "debug");
}

static bool is_levels(struct str text)
{
    bool more = true;
    while (more) {
        struct str one, module, level;
        more = str_cut(text, ',', &one, &text);
        if (str_cut(one, '=', &module, &level) ? !module.n || !is_level(level) : !is_level(one))
            return false;
    }
    return true;
}

/* What a text of this form must look like; NULL when it does. */
static const char *form_refusal(const char *form, struct str text)
{
    if (!strcmp(form, "name"))
        return resource_name_valid(text) ? NULL : "a name of a-z, 0-9 and - (not first, not last)";
    if (!strcmp(form, "bootstrap"))
        return is_bootstrap(text) ? NULL
                                  : "the word embedded, or HOST:PORT with commas between them";
    if (!strcmp(form, "prefix"))
        return text.n && text.n <= 150 && all_of(text, "._-")
                   ? NULL
                   : "1 to 150 characters of A-Z, a-z, 0-9, ., _ and -";
    if (!strcmp(form, "group"))
        return text.n <= 150 && all_of(text, "._-")
                   ? NULL
                   : "at most 150 characters of A-Z, a-z, 0-9, ., _ and -";
    if (!strcmp(form, "level"))
        return is_levels(text) ? NULL
                               : "error, warn, info or debug, also per module (info,broker=debug)";
    if (!strcmp(form, "header")) {
        struct str name = str_ends(text, STR("*")) ? (struct str){text.p, text.n - 1} : text;
        return text.n && all_of(name, "!#$%&'+-.^_`|~") ? NULL
                                                        : "a header's name, or a beginning and *";
    }
    return NULL;
}

static void set_string(struct config_loader *l, enum config_key key, struct str text,
                       const struct config_place *at)
{
    const struct config_row *row = &config_rows[key];
    const char *refusal = form_refusal(row->form, text);
    struct str host;
    uint16_t port;
    struct err e = {0};

    if (row->type == CONFIG_ADDRESS && text.n && addr_split(text, &host, &port, &e))
        refusal = "HOST:PORT";
    if (!refusal && memchr(text.p ? text.p : "", 0, text.n)) refusal = "a text without NUL";
    if (refusal) {
        config_problem(l, at, "%s is wanted, not \"" STR_FMT "\"", refusal, STR_ARG(text));
        return;
    }
    *(struct str *)config_field(l->c, key) = arena_dup_str(&l->c->arena, text);
    config_mark(l, key, at);
}

/* ---- lists and maps ---- */

static bool item_good(struct config_loader *l, enum config_key key, struct str text,
                      const struct config_place *at)
{
    const struct config_row *row = &config_rows[key];
    const char *refusal = form_refusal(row->form, text);

    if (row->choices_n) return choice_of(l, row, text, at) >= 0;
    if (!refusal && !text.n) refusal = "a text";
    if (refusal) config_problem(l, at, "%s is wanted, not \"" STR_FMT "\"", refusal, STR_ARG(text));
    return !refusal;
}

/* Headers are compared in lower case. */
static struct str item_dup(struct config_loader *l, enum config_key key, struct str text)
{
    struct str s = arena_dup_str(&l->c->arena, text);
    bool header = !strcmp(config_rows[key].form, "header");
    for (size_t i = 0; i < s.n && header; i++)
        if (s.p[i] >= 'A' && s.p[i] <= 'Z')
            ((char *)(uintptr_t)s.p)[i] = (char)(s.p[i] - 'A' + 'a');
    return s;
}

static void set_list_text(struct config_loader *l, enum config_key key, struct str text,
                          const struct config_place *at)
{
    struct config_list *list = config_field(l->c, key);
    struct str *items = arena_array(&l->c->arena, struct str, text.n + 1), one;
    size_t n = 0;
    bool more = text.n > 0, good = true;

    while (more) {
        more = str_cut(text, ',', &one, &text);
        if (item_good(l, key, one, at))
            items[n++] = item_dup(l, key, one);
        else
            good = false;
    }
    if (!good) return;
    *list = (struct config_list){items, n};
    config_mark(l, key, at);
}

static void set_list_node(struct config_loader *l, enum config_key key,
                          const struct yaml_node *node, const struct config_place *at)
{
    struct config_list *list = config_field(l->c, key);
    struct str *items = arena_array(&l->c->arena, struct str, node->n + 1);
    size_t n = 0;

    for (size_t i = 0; i < node->n; i++) {
        struct config_place here = config_place_of(at, node->items[i]);
        if (node->items[i]->kind != YAML_SCALAR)
            config_problem(l, &here, "a text is wanted here");
        else if (item_good(l, key, node->items[i]->text, &here))
            items[n++] = item_dup(l, key, node->items[i]->text);
    }
    if (n < node->n) return;
    *list = (struct config_list){items, n};
    config_mark(l, key, at);
}

/* librdkafka properties that belong to another key, or to millrace alone. */
static const struct {
    const char *name, *instead;
} taken[] = {
    {"bootstrap.servers", "kafka.bootstrap says it"},
    {"metadata.broker.list", "kafka.bootstrap says it"},
    {"security.protocol", "security.kafka.protocol says it"},
    {"sasl.*", "security.kafka.sasl says it"},
    {"ssl.*", "security.kafka.ssl says it"},
    {"ssl_*", "security.kafka.ssl says it"},
    {"enable.ssl.certificate.verification", "security.kafka.ssl says it"},
    {"debug", "kafka.debug says it"},
    {"log_level", "telemetry.log.level says it"},
    {"session.timeout.ms", "kafka.consumer.sessionTimeoutMs says it"},
    {"auto.offset.reset", "kafka.consumer.autoOffsetReset says it"},
    {"topic.metadata.refresh.interval.ms", "kafka.consumer.topicMetadataRefreshIntervalMs says it"},
    {"topic.metadata.propagation.max.ms", "kafka.consumer.topicMetadataPropagationMaxMs says it"},
    {"message.max.bytes", "messageMaxBytes beside properties says it"},
    {"linger.ms", "kafka.producer.lingerMs says it"},
    {"queue.buffering.max.ms", "kafka.producer.lingerMs says it"},
    {"acks", "flow.durability says it"},
    {"request.required.acks", "flow.durability says it"},
    {"message.timeout.ms", "the deadline of each request says it"},
    {"delivery.timeout.ms", "the deadline of each request says it"},
    {"group.id", "millrace chooses it"},
    {"group.instance.id", "millrace chooses it"},
    {"enable.auto.commit", "millrace commits itself"},
    {"enable.auto.offset.store", "millrace commits itself"},
    {"transactional.id", "millrace chooses it"},
    {"plugin.library.paths", "foreign code is not loaded"},
};

static bool pair_good(struct config_loader *l, enum config_key key, struct str name,
                      struct str value, const struct config_place *at)
{
    const char *form = config_rows[key].form;
    struct err e = {0};

    if (!name.n || !all_of(name, "._-")) {
        config_problem(l, at, "\"" STR_FMT "\" is no name", STR_ARG(name));
        return false;
    }
    if (!strcmp(form, "broker") && broker_setting_check(name, value, &e)) {
        config_problem(l, at, "%s", e.text);
        return false;
    }
    for (size_t i = 0; i < countof(taken) && !strcmp(form, "property"); i++) {
        if (fnmatch(taken[i].name, name.p, 0)) continue;
        config_problem(l, at, "cannot be set here: %s", taken[i].instead);
        return false;
    }
    return true;
}

void config_set_pair(struct config_loader *l, enum config_key key, struct str name,
                     struct str value, const struct config_place *at)
{
    struct config_map *map = config_field(l->c, key);
    struct str name_c = arena_dup_str(&l->c->arena, name);
    struct config_pair pair = {.name = name_c, .value = arena_dup_str(&l->c->arena, value)}, *more;

    if (key == CONFIG_KEY_BROKER_CONFIG) {
        int row =
            config_key_of(arena_printf(&l->c->arena, "broker.config." STR_FMT, STR_ARG(name)));
        if (row >= 0) { /* it has a row of its own */
            config_set_text(l, (enum config_key)row, value, at);
            return;
        }
    }
    if (!pair_good(l, key, name_c, value, at)) return;
    config_mark(l, key, at);
    pair.origin = l->c->origins[key];
    for (size_t i = 0; i < map->n; i++) {
        if (!str_eq(map->list[i].name, name)) continue;
        map->list[i] = pair;
        return;
    }
    more = arena_array(&l->c->arena, struct config_pair, map->n + 1);
    if (map->n) memcpy(more, map->list, map->n * sizeof *more);
    more[map->n] = pair;
    *map = (struct config_map){more, map->n + 1};
}

static void set_map_node(struct config_loader *l, enum config_key key, const struct yaml_node *node,
                         const struct config_place *at)
{
    for (size_t i = 0; i < node->n; i++) {
        struct config_place here = config_place_of(at, node->items[i]);
        here.label = arena_printf(&l->c->arena, "%s." STR_FMT, config_rows[key].key,
                                  STR_ARG(node->keys[i]->text));
        if (node->items[i]->kind != YAML_SCALAR)
            config_problem(l, &here, "a text or a number is wanted");
        else
            config_set_pair(l, key, node->keys[i]->text, node->items[i]->text, &here);
    }
}

/* ---- any type ---- */

void config_set_text(struct config_loader *l, enum config_key key, struct str text,
                     const struct config_place *at)
{
    switch (config_rows[key].type) {
    case CONFIG_BOOL: set_bool(l, key, text, at); break;
    case CONFIG_INT:
    case CONFIG_MS:
    case CONFIG_SIZE: set_number(l, key, text, at); break;
    case CONFIG_RATIO: set_ratio(l, key, text, at); break;
    case CONFIG_TEXT:
    case CONFIG_PATH:
    case CONFIG_ADDRESS: set_string(l, key, text, at); break;
    case CONFIG_CHOICE: set_choice(l, key, text, at); break;
    case CONFIG_LIST: set_list_text(l, key, text, at); break;
    case CONFIG_MAP:
        if (text.n) config_problem(l, at, "give one entry: --%s.NAME VALUE", config_rows[key].key);
        break;
    case CONFIG_LISTENERS: config_listeners_text(l, key, text, at); break;
    }
}

void config_set_node(struct config_loader *l, enum config_key key, const struct yaml_node *n,
                     const struct config_place *at)
{
    enum config_type type = config_rows[key].type;
    enum yaml_kind wanted = type == CONFIG_LIST || type == CONFIG_LISTENERS ? YAML_LIST
                            : type == CONFIG_MAP                            ? YAML_MAP
                                                                            : YAML_SCALAR;

    if (yaml_is_null(n)) return;
    if (n->kind != wanted) {
        config_problem(l, at, "%s is wanted here",
                       wanted == YAML_LIST  ? "a list"
                       : wanted == YAML_MAP ? "names with values"
                                            : "one value");
        return;
    }
    if (type == CONFIG_LIST)
        set_list_node(l, key, n, at);
    else if (type == CONFIG_LISTENERS)
        config_listeners_node(l, key, n, at);
    else if (type == CONFIG_MAP)
        set_map_node(l, key, n, at);
    else
        config_set_text(l, key, n->text, at);
}
