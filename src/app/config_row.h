/* app/config_row.h - the rows of schema/config.tbl as the program sees them. Used by: app/config*.c only.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "app/config.h"

enum config_type {
    CONFIG_BOOL, CONFIG_INT, CONFIG_MS, CONFIG_SIZE, CONFIG_RATIO, CONFIG_TEXT, CONFIG_PATH, CONFIG_ADDRESS,
    CONFIG_CHOICE, CONFIG_LIST, CONFIG_MAP, CONFIG_LISTENERS
};
struct config_choice { const char *name; bool later; };
enum { CONFIG_ENV_MAX = 4 };

struct config_row {
    const char *key;
    enum config_type type;
    size_t offset;                               /* of the field in struct config */
    int64_t low, high;                           /* numbers */
    const char *form;                            /* texts: "" or the name of a check */
    const struct config_choice *choices;
    size_t choices_n;
    const char *preset;                          /* the default, as text; lists with commas between their items */
    const char *env[CONFIG_ENV_MAX];             /* ended by NULL */
    bool later;                                  /* any value but the default is refused */
    const char *doc;
};
extern const struct config_row config_rows[CONFIG_KEYS];
