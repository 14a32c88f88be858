/* control/yaml_read.c - strict reading of a tree, and writing it again as JSON or YAML.
 *
 * A value that cannot be read becomes a problem and is treated as absent, so that one pass finds all mistakes.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "control/yaml.h"
#include "oip/json.h"
#include <inttypes.h>

struct yaml_node *yaml_get(const struct yaml_node *map, const char *key)
{
    if (!map || map->kind != YAML_MAP) return NULL;
    for (size_t i = 0; i < map->n; i++)
        if (str_is(map->keys[i]->text, key)) return map->items[i];
    return NULL;
}

bool yaml_is_null(const struct yaml_node *n)
{
    if (!n) return true;
    if (n->kind != YAML_SCALAR || !n->plain) return false;
    return n->text.n == 0 || str_is(n->text, "~") || str_is(n->text, "null") ||
           str_is(n->text, "Null") || str_is(n->text, "NULL");
}

static bool is_bool(struct str s, bool *ret)
{
    *ret = str_eq_nocase(s, STR("true"));
    return *ret || str_eq_nocase(s, STR("false"));
}

/* A whole number that every reader of JSON keeps as it is. What else YAML calls a number stays text: 1.10 is not 1.1. */
static bool is_number(struct str s)
{
    size_t i = s.n && s.p[0] == '-';
    if (i == s.n || s.n > 18 || (s.p[i] == '0' && (s.n > i + 1 || i))) return false;
    for (; i < s.n; i++)
        if (s.p[i] < '0' || s.p[i] > '9') return false;
    return true;
}

void yaml_put_json(const struct yaml_node *n, struct buf *b)
{
    bool v;
    switch (n->kind) {
    case YAML_SCALAR:
        if (yaml_is_null(n))
            buf_append_str(b, STR("null"));
        else if (n->plain && is_bool(n->text, &v))
            buf_append_str(b, v ? STR("true") : STR("false"));
        else if (n->plain && is_number(n->text))
            buf_append_str(b, n->text);
        else
            json_put_str(b, n->text);
        break;
    case YAML_LIST:
        buf_append_byte(b, '[');
        for (size_t i = 0; i < n->n; i++) {
            if (i) buf_append_byte(b, ',');
            yaml_put_json(n->items[i], b);
        }
        buf_append_byte(b, ']');
        break;
    case YAML_MAP:
        buf_append_byte(b, '{');
        for (size_t i = 0; i < n->n; i++) {
            if (i) buf_append_byte(b, ',');
            json_put_str(b, n->keys[i]->text);
            buf_append_byte(b, ':');
            yaml_put_json(n->items[i], b);
        }
        buf_append_byte(b, '}');
        break;
    }
}

/* Text that YAML would read back as the same text without quotes. */
static bool is_bare(struct str s)
{
    bool v;
    if (s.n == 0 || is_bool(s, &v) || is_number(s) || s.p[0] == '-' || s.p[0] == '.' ||
        s.p[0] == '~')
        return false;
    if (str_eq_nocase(s, STR("null")) || str_eq_nocase(s, STR("yes")) ||
        str_eq_nocase(s, STR("no")) || str_eq_nocase(s, STR("on")) ||
        str_eq_nocase(s, STR("off")) || str_eq_nocase(s, STR("y")) || str_eq_nocase(s, STR("n")))
        return false;
    if (s.p[0] >= '0' && s.p[0] <= '9') return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '.' || c == '-' || c == '_' || c == '/';
        if (!plain) return false;
    }
    return true;
}

static void put_scalar(const struct yaml_node *n, struct buf *b)
{
    if (!n->plain && is_bare(n->text))
        buf_append_str(b, n->text);
    else if (n->plain && is_bare(n->text))
        buf_append_str(b, n->text);
    else
        yaml_put_json(n, b);
}

void yaml_put_block(const struct yaml_node *n, unsigned indent, struct buf *b)
{
    if (n->kind == YAML_SCALAR || n->n == 0) {
        if (n->kind == YAML_SCALAR)
            put_scalar(n, b);
        else
            buf_append_str(b, n->kind == YAML_LIST ? STR("[]") : STR("{}"));
        buf_append_byte(b, '\n');
        return;
    }
    for (size_t i = 0; i < n->n; i++) {
        const struct yaml_node *item = n->items[i];
        bool leaf = item->kind == YAML_SCALAR || item->n == 0;
        if (i)
            for (unsigned k = 0; k < indent; k++)
                buf_append_byte(b, ' ');
        if (n->kind == YAML_MAP) {
            struct yaml_node key = *n->keys[i];
            key.plain = false;
            put_scalar(&key, b);
            buf_append_str(b, leaf ? STR(": ") : STR(":\n"));
            if (!leaf)
                for (unsigned k = 0; k < indent + 2; k++)
                    buf_append_byte(b, ' ');
        } else {
            buf_append_str(b, STR("- "));
        }
        yaml_put_block(item, indent + 2, b);
    }
}

void yaml_map_begin(struct yaml_map *m, const struct yaml_node *node, struct str file,
                    struct str path, struct arena *a, struct problems *problems)
{
    *m = (struct yaml_map){
        .node = node, .file = file, .path = path, .problems = problems, .arena = a};
    if (yaml_is_null(node)) {
        m->node = NULL;
    } else if (node->kind != YAML_MAP) {
        problem_add(problems, file, node->line, node->column,
                    STR_FMT "%snames with values are wanted here", STR_ARG(path),
                    path.n ? ": " : "");
        m->node = NULL;
    }
}

void yaml_problem(struct yaml_map *m, const struct yaml_node *at, const char *fmt, ...)
{
    AUTO(buf_fini) struct buf text = {0};
    va_list ap;
    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    if (!at) at = m->node;
    problem_add(m->problems, m->file, at ? at->line : 0, at ? at->column : 0, STR_FMT,
                STR_ARG(buf_str(&text)));
}

static struct str path_of(struct yaml_map *m, const char *key)
{
    return m->path.n ? arena_printf(m->arena, STR_FMT ".%s", STR_ARG(m->path), key) : str_of(key);
}

const struct yaml_node *yaml_map_any(struct yaml_map *m, const char *key)
{
    must(m->known_n < YAML_KEYS_MAX);
    m->known[m->known_n++] = key;
    const struct yaml_node *n = yaml_get(m->node, key);
    return yaml_is_null(n) ? NULL : n;
}

void yaml_map_sub(struct yaml_map *m, const char *key, struct yaml_map *ret)
{
    yaml_map_begin(ret, yaml_map_any(m, key), m->file, path_of(m, key), m->arena, m->problems);
}

static const struct yaml_node *wanted(struct yaml_map *m, const char *key, enum yaml_kind kind,
                                      const char *what)
{
    const struct yaml_node *n = yaml_map_any(m, key);
    if (n && n->kind != kind) {
        yaml_problem(m, n, STR_FMT ": %s is wanted", STR_ARG(path_of(m, key)), what);
        return NULL;
    }
    return n;
}

struct yaml_text yaml_map_text(struct yaml_map *m, const char *key)
{
    const struct yaml_node *n = wanted(m, key, YAML_SCALAR, "a text");
    return n ? (struct yaml_text){arena_dup_str(m->arena, n->text), n} : (struct yaml_text){0};
}

bool yaml_map_bool(struct yaml_map *m, const char *key, bool absent)
{
    const struct yaml_node *n = wanted(m, key, YAML_SCALAR, "true or false");
    bool v = absent;
    if (n && !is_bool(n->text, &v)) {
        yaml_problem(m, n, STR_FMT ": true or false is wanted, not \"" STR_FMT "\"",
                     STR_ARG(path_of(m, key)), STR_ARG(n->text));
        return absent;
    }
    return v;
}

int64_t yaml_map_int(struct yaml_map *m, const char *key, int64_t low, int64_t high, int64_t absent)
{
    const struct yaml_node *n = wanted(m, key, YAML_SCALAR, "a number");
    int64_t v;
    if (!n) return absent;
    if (str_to_i64(n->text, &v) && v >= low && v <= high) return v;
    yaml_problem(m, n,
                 STR_FMT ": a whole number from %" PRId64 " to %" PRId64
                         " is wanted, not \"" STR_FMT "\"",
                 STR_ARG(path_of(m, key)), low, high, STR_ARG(n->text));
    return absent;
}

const struct yaml_node *yaml_map_list(struct yaml_map *m, const char *key)
{
    return wanted(m, key, YAML_LIST, "a list");
}

struct yaml_text *yaml_map_texts(struct yaml_map *m, const char *key, size_t *ret_n)
{
    const struct yaml_node *list = yaml_map_list(m, key);
    struct yaml_text *texts = NULL;

    *ret_n = 0;
    if (!list || !list->n) return NULL;
    texts = arena_array(m->arena, struct yaml_text, list->n);
    for (size_t i = 0; i < list->n; i++) {
        const struct yaml_node *n = list->items[i];
        if (n->kind != YAML_SCALAR)
            yaml_problem(m, n, STR_FMT "[%zu]: a text is wanted", STR_ARG(path_of(m, key)), i);
        else
            texts[(*ret_n)++] =
                (struct yaml_text){yaml_is_null(n) ? STR("") : arena_dup_str(m->arena, n->text), n};
    }
    return texts;
}

void yaml_map_end(struct yaml_map *m)
{
    AUTO(buf_fini) struct buf known = {0};

    if (!m->node) return;
    for (size_t i = 0; i < m->known_n; i++)
        buf_printf(&known, "%s%s", i ? ", " : "", m->known[i]);
    for (size_t i = 0; i < m->node->n; i++) {
        const struct yaml_node *key = m->node->keys[i];
        bool found = false;
        for (size_t k = 0; k < m->known_n && !found; k++)
            found = str_is(key->text, m->known[k]);
        if (!found)
            yaml_problem(m, key, "unknown field \"" STR_FMT "\"%s" STR_FMT "; known are " STR_FMT,
                         STR_ARG(key->text), m->path.n ? " in " : "", STR_ARG(m->path),
                         STR_ARG(buf_str(&known)));
    }
}
