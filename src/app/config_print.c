/* app/config_print.c - the effective configuration with the origin of each value, secrets masked.
 * SPDX-License-Identifier: Apache-2.0 */
#include "app/config_load.h"
#include "oip/json.h"
#include <fnmatch.h>
#include <inttypes.h>

static const char *const protocols[] = {"PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"};

/* Properties whose value is nobody's business. */
static bool is_secret(const struct config_pair *p)
{
    static const char *const patterns[] = {"*password*", "*secret*", "*ssl.key*",    "ssl_key*",
                                           "*keystore*", "*token*",  "sasl.username"};

    for (size_t i = 0; i < countof(patterns); i++)
        if (!fnmatch(patterns[i], p->name.p, 0)) return true;
    return false;
}

static struct str pair_value(const struct config_pair *p)
{
    return is_secret(p) && p->value.n ? STR("***") : p->value;
}

static void put_listeners(const struct config_listeners *all, struct buf *b)
{
    for (size_t i = 0; i < all->n; i++)
        buf_printf(b, "%s" STR_FMT "=" STR_FMT, i ? "," : "", STR_ARG(all->list[i].name),
                   STR_ARG(all->list[i].listen));
}

struct str config_choice_text(enum config_key key, int value)
{
    return str_of(config_rows[key].choices[value].name);
}

void config_put_value(const struct config *c, enum config_key key, struct buf *b)
{
    const struct config_row *row = &config_rows[key];
    const void *field = config_field(c, key);
    const struct config_list *list = field;
    const struct config_map *map = field;

    switch (row->type) {
    case CONFIG_BOOL: buf_append_str(b, *(const bool *)field ? STR("true") : STR("false")); break;
    case CONFIG_INT: buf_printf(b, "%" PRId64, *(const int64_t *)field); break;
    case CONFIG_MS:
    case CONFIG_SIZE: buf_printf(b, "%" PRIu64, *(const uint64_t *)field); break;
    case CONFIG_RATIO: buf_printf(b, "%g", *(const double *)field); break;
    case CONFIG_TEXT:
    case CONFIG_PATH:
    case CONFIG_ADDRESS: buf_append_str(b, *(const struct str *)field); break;
    case CONFIG_CHOICE: buf_append_str(b, str_of(row->choices[*(const int *)field].name)); break;
    case CONFIG_LIST:
        for (size_t i = 0; i < list->n; i++)
            buf_printf(b, "%s" STR_FMT, i ? "," : "", STR_ARG(list->list[i]));
        break;
    case CONFIG_MAP:
        for (size_t i = 0; i < map->n; i++)
            buf_printf(b, "%s" STR_FMT "=" STR_FMT, i ? "," : "", STR_ARG(map->list[i].name),
                       STR_ARG(pair_value(&map->list[i])));
        break;
    case CONFIG_LISTENERS: put_listeners(field, b); break;
    }
}

static void put_origin(const struct config_origin *o, struct buf *b)
{
    static const char *const names[] = {
        [CONFIG_DEFAULT] = "default", [CONFIG_KAFKA_JSON] = "kafka.json",
        [CONFIG_YAML] = "file",       [CONFIG_ENV] = "environment",
        [CONFIG_FLAG] = "flag",       [CONFIG_DERIVED] = "follows"};
    buf_append_str(b, str_of(names[o->from]));
    if (o->detail.n) buf_printf(b, " " STR_FMT, STR_ARG(o->detail));
}

/* ---- table ---- */

static void print_table(const struct config *c, struct buf *b)
{
    size_t key_wide = 0, value_wide = 0;

    for (int i = 0; i < CONFIG_KEYS; i++) {
        AUTO(buf_fini) struct buf value = {0};
        config_put_value(c, (enum config_key)i, &value);
        key_wide = MAX(key_wide, strlen(config_rows[i].key));
        if (value.n <= 40) value_wide = MAX(value_wide, value.n);
    }
    for (int i = 0; i < CONFIG_KEYS; i++) {
        AUTO(buf_fini) struct buf value = {0};
        config_put_value(c, (enum config_key)i, &value);
        buf_printf(b, "%-*s  %-*s  ", (int)key_wide, config_rows[i].key, (int)value_wide,
                   value.n ? buf_cstr(&value) : "\"\"");
        put_origin(&c->origins[i], b);
        buf_append_byte(b, '\n');
    }
}

/* ---- JSON ---- */

static void put_json_text(const char *key, struct str value, struct buf *b)
{
    buf_printf(b, "\"%s\":", key);
    json_put_str(b, value);
}

static void put_json_security(const struct config_listener *one, struct buf *b)
{
    static const char *const auth[] = {"none", "requested", "required"};
    const char *comma = "";

    if (one->crt_path.n) {
        buf_append_str(b, STR(",\"tls\":{"));
        put_json_text("crtPath", one->crt_path, b);
        buf_append_byte(b, ',');
        put_json_text("keyPath", one->key_path, b);
        buf_append_byte(b, ',');
        put_json_text("clientCaPath", one->client_ca_path, b);
        buf_printf(b, "},\"clientAuth\":\"%s\",", auth[one->client_auth]);
        put_json_text("principalMappingRules", one->principal_rules, b);
    }
    if (!one->sasl) return;
    buf_append_str(b, STR(",\"sasl\":["));
    for (unsigned m = 1; m <= SASL_MECHANISMS; m <<= 1) {
        if (!(one->sasl & m)) continue;
        buf_printf(b, "%s\"%s\"", comma, sasl_mechanism_name((enum sasl_mechanism)m));
        comma = ",";
    }
    buf_append_byte(b, ']');
}

static void put_json_listener(const struct config_listener *one, bool broker, struct buf *b)
{
    buf_append_str(b, STR("{\"name\":"));
    json_put_str(b, one->name);
    buf_append_str(b, STR(",\"listen\":"));
    json_put_str(b, one->listen);
    if (broker) {
        buf_append_str(b, STR(",\"advertise\":"));
        json_put_str(b, one->advertise);
        buf_printf(b, ",\"protocol\":\"%s\"", protocols[one->protocol]);
        put_json_security(one, b);
    }
    buf_append_byte(b, '}');
}

static void put_json_value(const struct config *c, enum config_key key, struct buf *b)
{
    const void *field = config_field(c, key);
    const struct config_list *list = field;
    const struct config_map *map = field;
    const struct config_listeners *listeners = field;
    AUTO(buf_fini) struct buf text = {0};

    switch (config_rows[key].type) {
    case CONFIG_BOOL:
    case CONFIG_INT:
    case CONFIG_MS:
    case CONFIG_SIZE:
    case CONFIG_RATIO: config_put_value(c, key, b); break;
    case CONFIG_TEXT:
    case CONFIG_PATH:
    case CONFIG_ADDRESS:
    case CONFIG_CHOICE:
        config_put_value(c, key, &text);
        json_put_str(b, buf_str(&text));
        break;
    case CONFIG_LIST:
        buf_append_byte(b, '[');
        for (size_t i = 0; i < list->n; i++) {
            if (i) buf_append_byte(b, ',');
            json_put_str(b, list->list[i]);
        }
        buf_append_byte(b, ']');
        break;
    case CONFIG_MAP:
        buf_append_byte(b, '{');
        for (size_t i = 0; i < map->n; i++) {
            if (i) buf_append_byte(b, ',');
            json_put_str(b, map->list[i].name);
            buf_append_byte(b, ':');
            json_put_str(b, pair_value(&map->list[i]));
        }
        buf_append_byte(b, '}');
        break;
    case CONFIG_LISTENERS:
        buf_append_byte(b, '[');
        for (size_t i = 0; i < listeners->n; i++) {
            if (i) buf_append_byte(b, ',');
            put_json_listener(&listeners->list[i], key == CONFIG_KEY_BROKER_LISTENERS, b);
        }
        buf_append_byte(b, ']');
        break;
    }
}

static void print_json(const struct config *c, struct buf *b)
{
    buf_append_str(b, STR("{\n"));
    for (int i = 0; i < CONFIG_KEYS; i++) {
        AUTO(buf_fini) struct buf origin = {0};
        put_origin(&c->origins[i], &origin);
        buf_printf(b, "  \"%s\": {\"value\": ", config_rows[i].key);
        put_json_value(c, (enum config_key)i, b);
        buf_append_str(b, STR(", \"origin\": "));
        json_put_str(b, buf_str(&origin));
        buf_append_str(b, i + 1 < CONFIG_KEYS ? STR("},\n") : STR("}\n"));
    }
    buf_append_str(b, STR("}\n"));
}

/* ---- YAML: what --config reads ---- */

static void put_yaml_pairs(const struct config_map *map, struct buf *b)
{
    for (size_t i = 0; i < map->n; i++) {
        buf_printf(b, "    " STR_FMT ": ", STR_ARG(map->list[i].name));
        json_put_str(b, pair_value(&map->list[i]));
        buf_append_str(b, STR("   # "));
        put_origin(&map->list[i].origin, b);
        buf_append_byte(b, '\n');
    }
}

static void print_yaml(const struct config *c, struct buf *b)
{
    struct str open[8] = {{0}};
    size_t depth = 0;

    for (int i = 0; i < CONFIG_KEYS; i++) {
        struct str rest = str_of(config_rows[i].key), section;
        if (i == CONFIG_KEY_BROKER_CONFIG) { /* they stand among their equals, which have rows */
            put_yaml_pairs(&c->broker_config, b);
            continue;
        }
        bool broker_config = str_starts(rest, STR("broker.config."));
        size_t level = 0;
        while (memchr(rest.p, '.', rest.n) && !(broker_config && level == 2)) {
            str_cut(rest, '.', &section, &rest);
            if (level >= depth || !str_eq(open[level], section)) {
                buf_printf(b, "%*s" STR_FMT ":\n", (int)(2 * level), "", STR_ARG(section));
                open[level] = section;
                depth = level + 1;
            }
            level++;
        }
        depth = level;
        buf_printf(b, "%*s" STR_FMT ": ", (int)(2 * level), "", STR_ARG(rest));
        put_json_value(c, (enum config_key)i, b);
        if (c->origins[i].from != CONFIG_DEFAULT) {
            buf_append_str(b, STR("   # "));
            put_origin(&c->origins[i], b);
        }
        buf_append_byte(b, '\n');
    }
}

void config_print(const struct config *c, enum config_format format, struct buf *b)
{
    switch (format) {
    case CONFIG_AS_TABLE: print_table(c, b); break;
    case CONFIG_AS_JSON: print_json(c, b); break;
    case CONFIG_AS_YAML: print_yaml(c, b); break;
    }
}

static const char *flag_value(const struct config_row *row)
{
    switch (row->type) {
    case CONFIG_BOOL: return "true|false";
    case CONFIG_INT: return "N";
    case CONFIG_MS: return "MS";
    case CONFIG_SIZE: return "BYTES";
    case CONFIG_RATIO: return "RATIO";
    case CONFIG_TEXT: return "TEXT";
    case CONFIG_PATH: return "PATH";
    case CONFIG_ADDRESS: return "HOST:PORT";
    case CONFIG_CHOICE: return "CHOICE";
    case CONFIG_LIST: return "A,B";
    case CONFIG_MAP: return "VALUE";
    case CONFIG_LISTENERS: return "NAME=HOST:PORT,…";
    }
    return "";
}

void config_print_flags(struct buf *b)
{
    for (int i = 0; i < CONFIG_KEYS; i++) {
        const struct config_row *row = &config_rows[i];
        buf_printf(b, "  --%s%s %s", row->key, row->type == CONFIG_MAP ? ".NAME" : "",
                   flag_value(row));
        if (*row->preset) buf_printf(b, "  [%s]", row->preset);
        buf_append_str(b, STR("\n        "));
        for (size_t k = 0; k < row->choices_n; k++)
            buf_printf(b, "%s%s%s", row->choices[k].name, row->choices[k].later ? " (later)" : "",
                       k + 1 < row->choices_n ? " | " : ". ");
        buf_printf(b, "%s%s\n", row->doc, row->later ? " (later)" : "");
    }
}
