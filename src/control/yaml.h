/* control/yaml.h - YAML and JSON as a tree of nodes that know where they were written, and strict reading of it.
 *
 * Bounds: YAML_BYTES_MAX, YAML_DEPTH_MAX, YAML_NODES_MAX (aliases count as what they stand for). Keys that appear twice
 * are problems. Scalars are text; what they mean is decided by the one who reads them. Pure.
 * Used by: control/, app/config, cli.     SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/arena.h"
#include "base/err.h"
#include "control/problems.h"

enum { YAML_BYTES_MAX = 8 << 20, YAML_DEPTH_MAX = 64, YAML_NODES_MAX = 1 << 20 };

enum yaml_kind { YAML_SCALAR, YAML_LIST, YAML_MAP };
struct yaml_node {
    enum yaml_kind kind;
    bool plain;                                  /* a scalar without quotes: null, true and numbers mean themselves */
    uint32_t line, column;                       /* from 1 */
    size_t start, end;                           /* where in the text, in characters */
    struct str text;                             /* scalar */
    struct yaml_node **items; size_t n;          /* list: the items; map: the values */
    struct yaml_node **keys;                     /* map: scalars */
};

/* All documents of the text; empty ones are left out. Nodes and *ret live in the arena. False: there is no tree, and a
 * problem says why. True with a problem added: a key was there twice, the tree can be read on. */
bool yaml_parse(struct str text, struct str file, struct arena *a, struct problems *problems, struct yaml_node ***ret,
                size_t *ret_n) MUST_USE;

/* One JSON value, as stored by this program, as a tree without places. RC_INVALID: it is none. */
enum rc yaml_of_json(struct str text, struct arena *a, struct yaml_node **ret, struct err *e) MUST_USE;

struct yaml_node *yaml_get(const struct yaml_node *map, const char *key);       /* NULL: not there, or no map */
bool yaml_is_null(const struct yaml_node *n);    /* NULL, ~, null or empty without quotes */
/* The node as JSON (plain whole numbers, booleans and null stay what they are) and as YAML, one key a line. */
void yaml_put_json(const struct yaml_node *n, struct buf *b);
void yaml_put_block(const struct yaml_node *n, unsigned indent, struct buf *b);

/* Reading a map strictly: ask for every key that may be there, then end. Wrong kinds become problems and read as
 * absent; yaml_map_end() makes a problem of every key that nobody asked for and says what was known. Texts are copied
 * into the map's arena and outlive the tree. */
enum { YAML_KEYS_MAX = 40 };
struct yaml_map {
    const struct yaml_node *node;
    struct str file, path;                       /* path: "spec.steps[2]", for the sentences */
    struct problems *problems;
    struct arena *arena;
    const char *known[YAML_KEYS_MAX]; size_t known_n;
};
struct yaml_text { struct str s; const struct yaml_node *at; };     /* at NULL: absent */

/* A node that is absent or null reads as an empty map. */
void yaml_map_begin(struct yaml_map *m, const struct yaml_node *node, struct str file, struct str path, struct arena *a, struct problems *problems);
void yaml_map_sub(struct yaml_map *m, const char *key, struct yaml_map *ret);
const struct yaml_node *yaml_map_any(struct yaml_map *m, const char *key);
struct yaml_text yaml_map_text(struct yaml_map *m, const char *key);
bool yaml_map_bool(struct yaml_map *m, const char *key, bool absent);
int64_t yaml_map_int(struct yaml_map *m, const char *key, int64_t low, int64_t high, int64_t absent);
struct yaml_text *yaml_map_texts(struct yaml_map *m, const char *key, size_t *ret_n);      /* a null item is an empty text */
const struct yaml_node *yaml_map_list(struct yaml_map *m, const char *key);               /* NULL: absent */
void yaml_map_end(struct yaml_map *m);
void yaml_problem(struct yaml_map *m, const struct yaml_node *at, const char *fmt, ...) PRINTF(3, 4);
