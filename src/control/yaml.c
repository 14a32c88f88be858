/* control/yaml.c - libyaml's events into a tree.
 *
 * The parser's events drive a stack of open lists and maps. Anchors are remembered by name; an alias is the same node
 * once more, and counts with all that hangs below it, so that a few lines cannot stand for millions of nodes. An alias
 * inside the thing it names is refused. SPDX-License-Identifier: Apache-2.0
 */
#include "control/yaml.h"
#include "base/map.h"
#include <jansson.h>
#include <string.h>
#include <yaml.h>

struct weight {
    size_t nodes, bytes;
}; /* of a node and all below it, as often as it is named */
struct anchored {
    struct yaml_node *node;
    struct weight weight;
};

struct open { /* a list or map that is not closed yet */
    struct yaml_node *node;
    struct yaml_node *key; /* map: waiting for its value */
    struct map seen;       /* map: keys so far */
    size_t cap;
    struct weight before;
    struct str anchor;
};

struct builder {
    struct arena *a;
    struct str file;
    struct problems *problems;
    struct map anchors; /* name -> struct anchored */
    struct open stack[YAML_DEPTH_MAX];
    size_t depth;
    struct weight total;
    bool failed;
    struct yaml_node **docs;
    size_t docs_n;
};

static struct str of_yaml(const yaml_char_t *s)
{
    return str_of((const char *)s);
}

static void refuse(struct builder *b, const yaml_mark_t *at, const char *what)
{
    problem_add(b->problems, b->file, (uint32_t)at->line + 1, (uint32_t)at->column + 1, "%s", what);
    b->failed = true;
}

static bool count(struct builder *b, struct weight more, const yaml_mark_t *at)
{
    b->total.nodes += more.nodes;
    b->total.bytes += more.bytes;
    if (b->total.nodes <= YAML_NODES_MAX && b->total.bytes <= 2 * (size_t)YAML_BYTES_MAX)
        return true;
    refuse(b, at, "too large: more than a million values, or aliases that stand for too much");
    return false;
}

static void anchor(struct builder *b, struct str name, struct yaml_node *n, struct weight before)
{
    struct anchored *a = arena_new(b->a, struct anchored);

    a->node = n;
    a->weight = (struct weight){b->total.nodes - before.nodes, b->total.bytes - before.bytes};
    map_put_str(&b->anchors, name, a);
}

static void grow(struct builder *b, struct yaml_node ***list, size_t n, size_t *cap)
{
    struct yaml_node **more = arena_array(b->a, struct yaml_node *, *cap);
    if (n) memcpy(more, *list, n * sizeof **list);
    *list = more;
}

/* Puts a finished node where it belongs: in the open list, as key or value of the open map, or as a document. */
static void place(struct builder *b, struct yaml_node *n, const yaml_mark_t *at)
{
    if (b->depth == 0) {
        if (yaml_is_null(n)) return;
        b->docs = xrealloc(b->docs, b->docs_n + 1, sizeof *b->docs);
        b->docs[b->docs_n++] = n;
        return;
    }
    struct open *o = &b->stack[b->depth - 1];
    if (o->node->kind == YAML_MAP && !o->key) {
        if (n->kind != YAML_SCALAR) {
            refuse(b, at, "a key must be a text");
            return;
        }
        if (map_put_str(&o->seen, n->text, n))
            problem_add(b->problems, b->file, n->line, n->column,
                        "the key \"" STR_FMT "\" is there twice", STR_ARG(n->text));
        o->key = n;
        return;
    }
    if (o->node->n == o->cap) {
        o->cap = o->cap ? 2 * o->cap : 4;
        grow(b, &o->node->items, o->node->n, &o->cap);
        if (o->node->kind == YAML_MAP) grow(b, &o->node->keys, o->node->n, &o->cap);
    }
    if (o->node->kind == YAML_MAP) o->node->keys[o->node->n] = o->key;
    o->node->items[o->node->n++] = n;
    o->key = NULL;
}

static struct yaml_node *node_new(struct builder *b, enum yaml_kind kind, const yaml_event_t *ev)
{
    struct yaml_node *n = arena_new(b->a, struct yaml_node);
    n->kind = kind;
    n->line = (uint32_t)ev->start_mark.line + 1;
    n->column = (uint32_t)ev->start_mark.column + 1;
    n->start = ev->start_mark.index;
    n->end = ev->end_mark.index;
    return n;
}

static void on_scalar(struct builder *b, const yaml_event_t *ev)
{
    struct weight before = b->total;

    if (!count(b, (struct weight){1, ev->data.scalar.length}, &ev->start_mark)) return;
    struct yaml_node *n = node_new(b, YAML_SCALAR, ev);
    n->plain = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    n->text = arena_dup_str(
        b->a, (struct str){(const char *)ev->data.scalar.value, ev->data.scalar.length});
    if (memchr(n->text.p, 0, n->text.n))
        refuse(b, &ev->start_mark, "a NUL character has no meaning here");
    if (ev->data.scalar.tag && ev->data.scalar.quoted_implicit == 0 &&
        ev->data.scalar.plain_implicit == 0)
        refuse(b, &ev->start_mark, "tags (!…) have no meaning here");
    if (ev->data.scalar.anchor) anchor(b, of_yaml(ev->data.scalar.anchor), n, before);
    place(b, n, &ev->start_mark);
}

static void on_open(struct builder *b, const yaml_event_t *ev, enum yaml_kind kind,
                    const yaml_char_t *name)
{
    struct weight before = b->total;

    if (b->depth == YAML_DEPTH_MAX) {
        refuse(b, &ev->start_mark, "lists and maps are nested too deeply");
        return;
    }
    if (!count(b, (struct weight){1, 0}, &ev->start_mark)) return;
    struct open *o = &b->stack[b->depth++];
    *o = (struct open){.node = node_new(b, kind, ev), .before = before};
    if (name) o->anchor = arena_dup_str(b->a, of_yaml(name));
}

static void on_close(struct builder *b, const yaml_event_t *ev)
{
    struct open *o = &b->stack[--b->depth];
    struct yaml_node *n = o->node;
    map_fini(&o->seen);
    if (o->anchor.n) anchor(b, o->anchor, n, o->before);
    place(b, n, &ev->start_mark);
}

static void on_alias(struct builder *b, const yaml_event_t *ev)
{
    const struct anchored *a = map_get_str(&b->anchors, of_yaml(ev->data.alias.anchor));
    if (!a) {
        refuse(b, &ev->start_mark, "this alias names nothing that was complete before it");
        return;
    }
    if (count(b, a->weight, &ev->start_mark)) place(b, a->node, &ev->start_mark);
}

static void on_event(struct builder *b, const yaml_event_t *ev)
{
    switch (ev->type) {
    case YAML_SCALAR_EVENT: on_scalar(b, ev); break;
    case YAML_SEQUENCE_START_EVENT:
        on_open(b, ev, YAML_LIST, ev->data.sequence_start.anchor);
        break;
    case YAML_MAPPING_START_EVENT: on_open(b, ev, YAML_MAP, ev->data.mapping_start.anchor); break;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT: on_close(b, ev); break;
    case YAML_ALIAS_EVENT: on_alias(b, ev); break;
    case YAML_DOCUMENT_END_EVENT: map_fini(&b->anchors); break;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_START_EVENT: break;
    }
}

static void parse_failed(struct builder *b, const yaml_parser_t *p)
{
    const yaml_mark_t *at =
        p->problem_mark.line || p->problem_mark.column ? &p->problem_mark : &p->context_mark;
    if (p->error == YAML_READER_ERROR)
        problem_add(b->problems, b->file, (uint32_t)p->mark.line + 1, 1, "not YAML: %s (byte %zu)",
                    p->problem ? p->problem : "unreadable", p->problem_offset);
    else
        problem_add(b->problems, b->file, (uint32_t)at->line + 1, (uint32_t)at->column + 1,
                    "not YAML: %s%s%s%s", p->context ? p->context : "", p->context ? ": " : "",
                    p->problem ? p->problem : "unreadable",
                    p->problem && strstr(p->problem, "cannot start any token") ? " (a tab? YAML is indented with spaces; a value that begins with @, % or ` needs quotes)" : "");
    b->failed = true;
}

bool yaml_parse(struct str text, struct str file, struct arena *a, struct problems *problems,
                struct yaml_node ***ret, size_t *ret_n)
{
    struct builder b = {.a = a, .file = file, .problems = problems};
    yaml_parser_t parser;
    bool done = false;

    if (text.n > YAML_BYTES_MAX) {
        problem_add(problems, file, 0, 0, "%zu bytes are too many: at most %d are read", text.n,
                    YAML_BYTES_MAX);
        return false;
    }
    must(yaml_parser_initialize(&parser));
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)(text.p ? text.p : ""), text.n);
    while (!done && !b.failed) {
        yaml_event_t ev;
        if (!yaml_parser_parse(&parser, &ev)) {
            parse_failed(&b, &parser);
            break;
        }
        on_event(&b, &ev);
        done = ev.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&ev);
    }
    while (b.depth)
        map_fini(&b.stack[--b.depth].seen);
    map_fini(&b.anchors);
    yaml_parser_delete(&parser);
    if (!b.failed) {
        *ret = arena_array(a, struct yaml_node *, b.docs_n + 1);
        if (b.docs_n) memcpy(*ret, b.docs, b.docs_n * sizeof *b.docs);
        *ret_n = b.docs_n;
    }
    free(b.docs);
    return !b.failed;
}

/* ---- JSON ---- */

static struct yaml_node *of_json(struct arena *a, const json_t *j)
{
    struct yaml_node *n = arena_new(a, struct yaml_node);
    const char *key;
    json_t *value;
    size_t i = 0, size = json_is_array(j) ? json_array_size(j) : json_object_size(j);

    switch (json_typeof(j)) {
    case JSON_OBJECT:
        n->kind = YAML_MAP;
        n->items = arena_array(a, struct yaml_node *, size + 1);
        n->keys = arena_array(a, struct yaml_node *, size + 1);
        json_object_foreach((json_t *)(uintptr_t)j, key, value)
        {
            n->keys[n->n] = arena_new(a, struct yaml_node);
            n->keys[n->n]->text = arena_dup_str(a, str_of(key));
            n->items[n->n++] = of_json(a, value);
        }
        break;
    case JSON_ARRAY:
        n->kind = YAML_LIST;
        n->items = arena_array(a, struct yaml_node *, size + 1);
        json_array_foreach(j, i, value) n->items[n->n++] = of_json(a, value);
        break;
    case JSON_STRING:
        n->text = arena_dup_str(a, (struct str){json_string_value(j), json_string_length(j)});
        break;
    case JSON_INTEGER:
        n->text = arena_printf(a, "%" JSON_INTEGER_FORMAT, json_integer_value(j));
        n->plain = true;
        break;
    case JSON_REAL:
        n->text = arena_printf(a, "%.17g", json_real_value(j));
        n->plain = true;
        break;
    case JSON_TRUE:
        n->text = STR("true");
        n->plain = true;
        break;
    case JSON_FALSE:
        n->text = STR("false");
        n->plain = true;
        break;
    case JSON_NULL:
        n->text = STR("null");
        n->plain = true;
        break;
    }
    return n;
}

enum rc yaml_of_json(struct str text, struct arena *a, struct yaml_node **ret, struct err *e)
{
    json_error_t error;
    json_t *j =
        json_loadb(text.p ? text.p : "", text.n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);

    if (!j) return err_set(e, RC_INVALID, "not JSON: %s (at byte %d)", error.text, error.position);
    *ret = of_json(a, j);
    json_decref(j);
    return RC_OK;
}
