/* app/config_sources.c - flags, environment, YAML file and kafka.json, each walked once, weakest first.
 * SPDX-License-Identifier: Apache-2.0 */
#include "app/config_load.h"
#include "base/map.h"
#include "base/nearest.h"
#include "sys/fs.h"
#include <jansson.h>

enum { FILE_BYTES_MAX = 1 << 20, NAMESPACE_BYTES_MAX = 1024 };
static const char pod_namespace_file[] = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

void config_problem(struct config_loader *l, const struct config_place *at, const char *fmt, ...)
{
    AUTO(buf_fini) struct buf text = {0};
    va_list ap;

    if (at->label.n) buf_printf(&text, STR_FMT ": ", STR_ARG(at->label));
    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    problem_add(l->problems, at->file, at->line, at->column, STR_FMT, STR_ARG(buf_str(&text)));
}

struct config_place config_place_of(const struct config_place *file, const struct yaml_node *n)
{
    struct config_place at = *file;
    at.line = n->line;
    at.column = n->column;
    return at;
}

int config_key_of(struct str name)
{
    for (int i = 0; i < CONFIG_KEYS; i++)
        if (str_is(name, config_rows[i].key)) return i;
    return -1;
}

static bool file_load(struct config_loader *l, struct str path, const char *flag, struct buf *into)
{
    struct config_place at = {.label = str_of(flag)};
    struct err e = {0};

    if (!fs_load(&fs_real, arena_dup_str(&l->c->arena, path).p, FILE_BYTES_MAX, into, &e))
        return true;
    config_problem(l, &at, "%s", e.text);
    return false;
}

/* ---- the YAML file ---- */

/* Blocks of the original's Helm chart that say something about parts that millrace does not have. */
static const struct {
    const char *path, *why;
} foreign[] = {
    {"security.controlplane", "there is no separate control plane to secure; remove this block"},
    {"security.envoy",
     "there is no Envoy; the inference port's certificates are security.gateway.tls"},
    {"kafka.streams", "there is no Kafka Streams engine to configure; remove this block"},
};

static void unknown_key(struct config_loader *l, struct str path, const struct config_place *at)
{
    AUTO(buf_fini) struct buf known = {0};
    struct str parent = path, last = {0}, said = {0};

    for (size_t i = 0; i < countof(foreign); i++) {
        if (!str_is(path, foreign[i].path)) continue;
        config_problem(l, at, "%s", foreign[i].why);
        return;
    }
    while (parent.n && parent.p[parent.n - 1] != '.')
        parent.n--;
    for (int i = 0; i < CONFIG_KEYS; i++) { /* the names that may stand beside it */
        struct str key = str_of(config_rows[i].key), one, rest;
        if (!str_starts(key, parent)) continue;
        one = (struct str){key.p + parent.n, key.n - parent.n};
        str_cut(one, '.', &one, &rest);
        if (str_eq(one, said)) continue;
        buf_printf(&known, "%s" STR_FMT, last.n ? ", " : "", STR_ARG(one));
        said = last = one;
    }
    config_problem(l, at, "unknown key; known here are " STR_FMT, STR_ARG(buf_str(&known)));
}

static bool is_section(struct str path)
{
    for (int i = 0; i < CONFIG_KEYS; i++) {
        struct str key = str_of(config_rows[i].key);
        if (str_starts(key, path) && key.n > path.n && key.p[path.n] == '.') return true;
    }
    return false;
}

static void walk(struct config_loader *l, const struct yaml_node *map, struct str path,
                 const struct config_place *file)
{
    for (size_t i = 0; i < map->n; i++) {
        const struct yaml_node *value = map->items[i];
        struct str name = map->keys[i]->text;
        struct str sub = arena_printf(&l->c->arena, STR_FMT "%s" STR_FMT, STR_ARG(path),
                                      path.n ? "." : "", STR_ARG(name));
        struct config_place at = config_place_of(file, value),
                            at_key = config_place_of(file, map->keys[i]);
        int key = config_key_of(sub);

        at.label = at_key.label = sub;
        if (key >= 0)
            config_set_node(l, (enum config_key)key, value, &at);
        else if (!is_section(sub))
            unknown_key(l, sub, &at_key);
        else if (value->kind == YAML_MAP)
            walk(l, value, sub, file);
        else if (!yaml_is_null(value))
            config_problem(l, &at, "this is a section: names with values are wanted here");
    }
}

void config_read_file(struct config_loader *l, struct str path)
{
    AUTO(buf_fini) struct buf text = {0};
    AUTO(arena_fini) struct arena tree = {0};
    struct config_place file = {.from = CONFIG_YAML, .file = arena_dup_str(&l->c->arena, path)};
    struct yaml_node **docs;
    size_t n, before = l->problems->n;

    if (!file_load(l, path, "--config", &text)) return;
    if (!yaml_parse(buf_str(&text), file.file, &tree, l->problems, &docs, &n)) return;
    if (n > 1) {
        struct config_place at = config_place_of(&file, docs[1]);
        config_problem(l, &at, "a second document; the configuration is one");
    } else if (n == 1 && docs[0]->kind != YAML_MAP) {
        struct config_place at = config_place_of(&file, docs[0]);
        config_problem(l, &at, "names with values are wanted here");
    } else if (n == 1) {
        walk(l, docs[0], STR(""), &file);
        problems_sort(l->problems, before);
    }
}

/* ---- kafka.json ---- */

/* librdkafka's names of what has a key here. */
static const struct {
    const char *section, *name;
    enum config_key key;
} rdkafka_keys[] = {
    {"consumer", "session.timeout.ms", CONFIG_KEY_KAFKA_CONSUMER_SESSION_TIMEOUT_MS},
    {"consumer", "auto.offset.reset", CONFIG_KEY_KAFKA_CONSUMER_AUTO_OFFSET_RESET},
    {"consumer", "topic.metadata.refresh.interval.ms",
     CONFIG_KEY_KAFKA_CONSUMER_TOPIC_METADATA_REFRESH_INTERVAL_MS},
    {"consumer", "topic.metadata.propagation.max.ms",
     CONFIG_KEY_KAFKA_CONSUMER_TOPIC_METADATA_PROPAGATION_MAX_MS},
    {"consumer", "message.max.bytes", CONFIG_KEY_KAFKA_CONSUMER_MESSAGE_MAX_BYTES},
    {"producer", "linger.ms", CONFIG_KEY_KAFKA_PRODUCER_LINGER_MS},
    {"producer", "message.max.bytes", CONFIG_KEY_KAFKA_PRODUCER_MESSAGE_MAX_BYTES},
    {"*", "security.protocol", CONFIG_KEY_SECURITY_KAFKA_PROTOCOL},
    {"*", "sasl.mechanism", CONFIG_KEY_SECURITY_KAFKA_SASL_MECHANISM},
    {"*", "sasl.mechanisms", CONFIG_KEY_SECURITY_KAFKA_SASL_MECHANISM},
    {"*", "sasl.username", CONFIG_KEY_SECURITY_KAFKA_SASL_CLIENT_USERNAME},
    {"*", "sasl.oauthbearer.method", CONFIG_KEY_SECURITY_KAFKA_SASL_OAUTH_METHOD},
    {"*", "sasl.oauthbearer.client.id", CONFIG_KEY_SECURITY_KAFKA_SASL_OAUTH_CLIENT_ID},
    {"*", "sasl.oauthbearer.scope", CONFIG_KEY_SECURITY_KAFKA_SASL_OAUTH_SCOPE},
    {"*", "sasl.oauthbearer.token.endpoint.url", CONFIG_KEY_SECURITY_KAFKA_SASL_OAUTH_TOKEN_ENDPOINT_URL},
    {"*", "sasl.oauthbearer.extensions", CONFIG_KEY_SECURITY_KAFKA_SASL_OAUTH_EXTENSIONS},
    {"*", "ssl.certificate.location", CONFIG_KEY_SECURITY_KAFKA_SSL_CLIENT_CRT_PATH},
    {"*", "ssl.key.location", CONFIG_KEY_SECURITY_KAFKA_SSL_CLIENT_KEY_PATH},
    {"*", "ssl.ca.location", CONFIG_KEY_SECURITY_KAFKA_SSL_CLIENT_BROKER_CA_PATH},
    {"*", "ssl.endpoint.identification.algorithm", CONFIG_KEY_SECURITY_KAFKA_SSL_CLIENT_ENDPOINT_IDENTIFICATION_ALGORITHM},
    {"topics", "replicationFactor", CONFIG_KEY_KAFKA_TOPICS_REPLICATION_FACTOR},
    {"topics", "numPartitions", CONFIG_KEY_KAFKA_TOPICS_NUM_PARTITIONS},
};

static bool integer_or_text(struct config_loader *l, const struct yaml_node *n,
                            const struct config_place *at)
{
    int64_t v;

    if (n->kind == YAML_SCALAR && (!n->plain || str_is(n->text, "true") ||
                                   str_is(n->text, "false") || str_to_i64(n->text, &v)))
        return true;
    config_problem(l, at, "a text, a whole number, true or false is wanted");
    return false;
}

static void bootstrap_inside(struct config_loader *l, struct str value,
                             const struct config_place *at)
{
    bool given = l->c->origins[CONFIG_KEY_KAFKA_BOOTSTRAP].from == CONFIG_KAFKA_JSON;

    if (!given)
        config_set_text(l, CONFIG_KEY_KAFKA_BOOTSTRAP, value, at);
    else if (!str_eq(l->c->kafka_bootstrap, value))
        config_problem(l, at,
                       "\"" STR_FMT "\" is another cluster than \"" STR_FMT
                       "\"; there is one bootstrap for everything",
                       STR_ARG(value), STR_ARG(l->c->kafka_bootstrap));
}

/* Secrets in kafka.json: @FILE, which is the key's path. */
static const struct {
    const char *name;
    enum config_key key;
} rdkafka_secrets[] = {
    {"sasl.password", CONFIG_KEY_SECURITY_KAFKA_SASL_CLIENT_PASSWORD_PATH},
    {"sasl.oauthbearer.client.secret", CONFIG_KEY_SECURITY_KAFKA_SASL_OAUTH_CLIENT_SECRET_PATH},
};

/* There is one login for everything, which the two sections may repeat. */
static void security_inside(struct config_loader *l, enum config_key key, struct str value, const struct config_place *at)
{
    AUTO(buf_fini) struct buf now = {0};

    if (l->c->origins[key].from != CONFIG_KAFKA_JSON) {
        config_set_text(l, key, value, at);
        return;
    }
    config_put_value(l->c, key, &now);
    if (!str_eq(buf_str(&now), value)) config_problem(l, at, "contradicts " STR_FMT ": both say %s", STR_ARG(l->c->origins[key].detail), config_rows[key].key);
}

static bool json_secret(struct config_loader *l, const char *section, struct str name, struct str value, const struct config_place *at)
{
    for (size_t i = 0; i < countof(rdkafka_secrets); i++) {
        if (!strcmp(section, "topics") || !str_is(name, rdkafka_secrets[i].name)) continue;
        if (str_starts(value, STR("@")) && value.n > 1)
            security_inside(l, rdkafka_secrets[i].key, (struct str){value.p + 1, value.n - 1}, at);
        else
            config_problem(l, at, "a secret does not stand in this file: give @FILE, which is %s", config_rows[rdkafka_secrets[i].key].key);
        return true;
    }
    return false;
}

static void json_entry(struct config_loader *l, const char *section, enum config_key rest,
                       struct str name, const struct yaml_node *n, const struct config_place *at)
{
    if (!integer_or_text(l, n, at)) return;
    if (json_secret(l, section, name, n->text, at)) return;
    for (size_t i = 0; i < countof(rdkafka_keys); i++) {
        bool both = rdkafka_keys[i].section[0] == '*' && strcmp(section, "topics") != 0;

        if ((!both && strcmp(rdkafka_keys[i].section, section) != 0) || !str_is(name, rdkafka_keys[i].name)) continue;
        if (both) {
            security_inside(l, rdkafka_keys[i].key, n->text, at);
            return;
        }
        config_set_text(l, rdkafka_keys[i].key, n->text, at);
        return;
    }
    if (str_is(name, "bootstrap.servers"))
        bootstrap_inside(l, n->text, at);
    else if (str_is(name, "log_level"))
        config_note(l, "log_level in " STR_FMT " has no effect: telemetry.log.level says it",
                    STR_ARG(at->file));
    else
        config_set_pair(l, rest, name, n->text, at);
}

static void json_section(struct config_loader *l, const char *section, enum config_key rest,
                         const struct yaml_node *map, const struct config_place *at)
{
    if (yaml_is_null(map)) return;
    if (map->kind != YAML_MAP) {
        config_problem(l, at, "names with values are wanted here");
        return;
    }
    for (size_t i = 0; i < map->n; i++) {
        struct config_place here = config_place_of(at, map->items[i]);
        here.label =
            arena_printf(&l->c->arena, "%s." STR_FMT, section, STR_ARG(map->keys[i]->text));
        json_entry(l, section, rest, map->keys[i]->text, map->items[i], &here);
    }
}

static void json_key(struct config_loader *l, struct str name, const struct yaml_node *n,
                     const struct config_place *at)
{
    static const struct {
        const char *name;
        enum config_key key;
    } texts[] = {{"bootstrap.servers", CONFIG_KEY_KAFKA_BOOTSTRAP},
                 {"debug", CONFIG_KEY_KAFKA_DEBUG},
                 {"topicPrefix", CONFIG_KEY_KAFKA_TOPIC_PREFIX},
                 {"consumerGroupIdPrefix", CONFIG_KEY_KAFKA_CONSUMER_GROUP_ID_PREFIX}};

    for (size_t i = 0; i < countof(texts); i++) {
        if (!str_is(name, texts[i].name)) continue;
        if (n->kind != YAML_SCALAR || n->plain)
            config_problem(l, at, "a text is wanted");
        else if (n->text.n)
            config_set_text(l, texts[i].key, n->text, at);
        return;
    }
    if (str_is(name, "consumer"))
        json_section(l, "consumer", CONFIG_KEY_KAFKA_CONSUMER_PROPERTIES, n, at);
    else if (str_is(name, "producer"))
        json_section(l, "producer", CONFIG_KEY_KAFKA_PRODUCER_PROPERTIES, n, at);
    else if (str_is(name, "topics"))
        json_section(l, "topics", CONFIG_KEY_KAFKA_TOPICS_CONFIG, n, at);
    else if (!str_is(name, "streams"))
        config_problem(l, at,
                       "unknown key; known are bootstrap.servers, debug, consumer, producer, "
                       "streams, topics, topicPrefix, consumerGroupIdPrefix");
    else if (n->kind == YAML_MAP && n->n)
        config_note(l, "streams in " STR_FMT " has no effect: there is no Kafka Streams engine",
                    STR_ARG(at->file));
}

/* The first JSON value of the file counts, as it always has; what follows it is not looked at. */
static bool first_json(struct config_loader *l, struct str text, const struct config_place *file,
                       struct str *ret)
{
    json_error_t error;
    json_t *value = json_loadb(text.p ? text.p : "", text.n, JSON_DISABLE_EOF_CHECK, &error);
    struct config_place at = *file;

    if (value) {
        json_decref(value);
        *ret = (struct str){text.p, (size_t)error.position};
        return true;
    }
    at.line = (uint32_t)error.line;
    at.column = (uint32_t)error.column;
    config_problem(l, &at, "not JSON: %s", error.text);
    return false;
}

void config_read_kafka_json(struct config_loader *l, struct str path)
{
    AUTO(buf_fini) struct buf text = {0};
    AUTO(arena_fini) struct arena tree = {0};
    struct config_place file = {.from = CONFIG_KAFKA_JSON,
                                .file = arena_dup_str(&l->c->arena, path)};
    struct yaml_node **docs, *top;
    struct str json;
    size_t n, before = l->problems->n;

    if (!file_load(l, path, "--kafka-config-path", &text) ||
        !first_json(l, buf_str(&text), &file, &json))
        return;
    if (!yaml_parse(json, file.file, &tree, l->problems, &docs, &n) || n != 1) return;
    top = docs[0];
    for (int pass = 0; pass < 2 && top->kind == YAML_MAP;
         pass++) { /* bootstrap.servers before the sections that repeat it */
        for (size_t i = 0; i < top->n; i++) {
            struct config_place at = config_place_of(&file, top->items[i]);
            at.label = top->keys[i]->text;
            if (str_is(at.label, "bootstrap.servers") == (pass == 0))
                json_key(l, at.label, top->items[i], &at);
        }
    }
    problems_sort(l->problems, before);
    if (top->kind != YAML_MAP) config_problem(l, &file, "an object is wanted");
}

/* ---- the environment ---- */

static struct str env_get(const struct config_sources *src, const char *name)
{
    size_t n = strlen(name);
    for (char *const *e = src->environ; e && *e; e++)
        if (!strncmp(*e, name, n) && (*e)[n] == '=') return str_of(*e + n + 1);
    return STR("");
}

/* Names of one key must agree. An empty variable is one that is not set. */
static void read_variables(struct config_loader *l, enum config_key key,
                           const struct config_sources *src)
{
    const char *const *names = config_rows[key].env;
    const char *first = NULL;

    for (size_t i = 0; i < CONFIG_ENV_MAX && names[i]; i++) {
        struct config_place at = {.from = CONFIG_ENV, .label = str_of(names[i])};
        struct str value = env_get(src, names[i]);
        if (!value.n) continue;
        if (!first) {
            first = names[i];
            config_set_text(l, key, value, &at);
        } else if (!str_eq(value, env_get(src, first))) {
            config_problem(
                l, &at, "\"" STR_FMT "\" contradicts %s, which is \"" STR_FMT "\"; both say %s",
                STR_ARG(value), first, STR_ARG(env_get(src, first)), config_rows[key].key);
        }
    }
}

static bool read_namespace_file(struct config_loader *l, const struct config_sources *src)
{
    AUTO(buf_fini) struct buf text = {0};
    const char *path = src->namespace_file ? src->namespace_file : pod_namespace_file;
    struct config_place at = {.from = CONFIG_ENV, .label = str_of(path)};
    struct err e = {0};
    struct str s;

    if (fs_load(&fs_real, path, NAMESPACE_BYTES_MAX, &text, &e)) return false;
    s = buf_str(&text);
    while (s.n && strchr(" \t\r\n", s.p[s.n - 1]))
        s.n--;
    while (s.n && strchr(" \t\r\n", s.p[0]))
        s = (struct str){s.p + 1, s.n - 1};
    if (s.n) config_set_text(l, CONFIG_KEY_NAMESPACE, s, &at);
    return s.n > 0;
}

void config_read_environment(struct config_loader *l, const struct config_sources *src)
{
    for (int i = 0; i < CONFIG_KEYS; i++) {
        if (i == CONFIG_KEY_NAMESPACE && read_namespace_file(l, src)) continue;
        read_variables(l, (enum config_key)i, src);
    }
}

/* ---- flags ---- */

enum flag_kind { FLAG_KEY, FLAG_LISTEN, FLAG_ADVERTISE, FLAG_FIXED, FLAG_CONFIG, FLAG_KAFKA_JSON };
static const struct flag {
    const char *name;
    enum flag_kind kind;
    enum config_key key;
    const char *fixed;
} flags[] = {
    {"config", FLAG_CONFIG, 0, NULL},
    {"kafka-config-path", FLAG_KAFKA_JSON, 0, NULL},
    {"kafka-listen", FLAG_LISTEN, CONFIG_KEY_BROKER_LISTENERS, NULL},
    {"kafka-advertise", FLAG_ADVERTISE, CONFIG_KEY_BROKER_LISTENERS, NULL},
    {"infer-listen", FLAG_LISTEN, CONFIG_KEY_GATEWAY_LISTENERS, NULL},
    {"bootstrap", FLAG_KEY, CONFIG_KEY_KAFKA_BOOTSTRAP, NULL},
    {"no-broker", FLAG_FIXED, CONFIG_KEY_ROLES, "gateway"},
    {"broker-only", FLAG_FIXED, CONFIG_KEY_ROLES, "broker"},
    {"allow-unauthenticated", FLAG_FIXED, CONFIG_KEY_SECURITY_GATEWAY_ALLOW_UNAUTHENTICATED,
     "true"},
};

static const struct flag *flag_find(struct str name)
{
    for (size_t i = 0; i < countof(flags); i++)
        if (str_is(name, flags[i].name)) return &flags[i];
    return NULL;
}

/* --kafka.topics.config.retention.ms 1: the key is the map, the rest is the entry's name. */
static int map_key_of(struct str name, struct str *ret_entry)
{
    for (int i = 0; i < CONFIG_KEYS; i++) {
        struct str key = str_of(config_rows[i].key);
        if (config_rows[i].type != CONFIG_MAP || !str_starts(name, key) || name.n < key.n + 2 ||
            name.p[key.n] != '.')
            continue;
        *ret_entry = (struct str){name.p + key.n + 1, name.n - key.n - 1};
        return i;
    }
    return -1;
}

static void flag_apply(struct config_loader *l, const struct flag *f, int key, struct str entry,
                       struct str value, const struct config_place *at, bool files_only)
{
    if (f && f->kind == FLAG_KAFKA_JSON) {
        if (files_only) config_read_kafka_json(l, value);
    } else if (f && f->kind == FLAG_CONFIG) {
        return; /* read between the two passes: see config_read_flags() */
    } else if (files_only) {
        return;
    } else if (f && f->kind == FLAG_ADVERTISE) {
        config_set_advertise(l, f->key, value, at);
    } else if (!entry.n && l->c->origins[key].from == CONFIG_FLAG &&
               !str_eq(l->c->origins[key].detail, at->label)) {
        config_problem(l, at, "contradicts " STR_FMT, STR_ARG(l->c->origins[key].detail));
    } else if (f && f->kind == FLAG_LISTEN) {
        config_set_listen(l, f->key, value, at);
    } else if (entry.n) {
        config_set_pair(l, (enum config_key)key, entry, value, at);
    } else {
        config_set_text(l, f ? f->key : (enum config_key)key, value, at);
    }
}

static void flag_unknown(struct config_loader *l, struct str name, const struct config_place *at)
{
    struct nearest meant;

    nearest_begin(&meant, name);
    for (size_t i = 0; i < countof(flags); i++)
        nearest_offer(&meant, str_of(flags[i].name));
    for (int i = 0; i < CONFIG_KEYS; i++)
        nearest_offer(&meant, str_of(config_rows[i].key));
    if (meant.best.n)
        config_problem(l, at, "unknown flag; did you mean --" STR_FMT "?", STR_ARG(meant.best));
    else
        config_problem(l, at, "unknown flag; `millrace help keys` lists them");
}

/* Reads one flag at args[*i] and moves *i behind it. */
static void flag_read(struct config_loader *l, const struct config_sources *src, size_t *i,
                      bool files_only, struct str *ret_config, struct map *seen)
{
    struct str arg = str_of(src->args[*i]), name, value, entry = {0};
    struct config_place at = {.from = CONFIG_FLAG};
    bool has_value;

    *i += 1;
    if (!str_starts(arg, STR("--")) || arg.n == 2) {
        at.label = arg;
        if (!files_only) config_problem(l, &at, "a flag is wanted here: --KEY VALUE");
        return;
    }
    has_value = str_cut((struct str){arg.p + 2, arg.n - 2}, '=', &name, &value);
    at.label = (struct str){arg.p, name.n + 2};
    const struct flag *f = flag_find(name);
    int key = f ? (int)f->key : config_key_of(name);
    if (!f && key < 0) key = map_key_of(name, &entry);
    if (!f && key < 0) {
        if (!files_only) flag_unknown(l, name, &at);
        if (!has_value && *i < src->args_n && !str_starts(str_of(src->args[*i]), STR("--")))
            *i += 1;
        return;
    }
    if (f && f->kind == FLAG_FIXED) {
        if (has_value && !files_only) config_problem(l, &at, "this flag takes no value");
        value = str_of(f->fixed);
    } else if (!has_value) {
        if (*i == src->args_n) {
            if (!files_only) config_problem(l, &at, "a value is missing");
            return;
        }
        value = str_of(src->args[(*i)++]);
    }
    if (map_put_str(seen, name, l) && !files_only) config_problem(l, &at, "given twice");
    if (f && f->kind == FLAG_CONFIG) *ret_config = value;
    flag_apply(l, f, key, entry, value, &at, files_only);
}

void config_read_flags(struct config_loader *l, const struct config_sources *src, bool files_only)
{
    struct map seen = {0};
    struct str file = {0};

    for (size_t i = 0; i < src->args_n;)
        flag_read(l, src, &i, files_only, &file, &seen);
    if (files_only && file.n) config_read_file(l, file);
    map_fini(&seen);
}
