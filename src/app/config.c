/* app/config.c - loads: defaults, then every source from the weakest to the strongest, then what follows from them.
 * SPDX-License-Identifier: Apache-2.0 */
#include "app/config_load.h"

void config_note(struct config_loader *l, const char *fmt, ...)
{
    AUTO(buf_fini) struct buf text = {0};
    struct config_list *notes = &l->c->notes;
    struct str *more = arena_array(&l->c->arena, struct str, notes->n + 1);
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    if (notes->n) memcpy(more, notes->list, notes->n * sizeof *more);
    more[notes->n] = arena_dup_str(&l->c->arena, buf_str(&text));
    *notes = (struct config_list){more, notes->n + 1};
}

static void set_defaults(struct config_loader *l)
{
    size_t before = l->problems->n;

    for (int i = 0; i < CONFIG_KEYS; i++) {
        struct config_place at = {.from = CONFIG_DEFAULT};
        config_set_text(l, (enum config_key)i, str_of(config_rows[i].preset), &at);
    }
    must(l->problems->n == before); /* the table's own values are good */
}

enum rc config_load(const struct config_sources *src, struct config **ret,
                    struct problems *problems)
{
    struct config_loader *l = xnew(struct config_loader);
    size_t before = problems->n;
    enum rc rc = RC_OK;

    l->c = xnew(struct config);
    l->problems = problems;
    set_defaults(l);
    config_read_flags(l, src, true);
    config_read_environment(l, src);
    config_read_flags(l, src, false);
    if (problems->n == before) config_read_registry(l);
    if (problems->n == before) config_derive(l);
    if (problems->n == before) config_check(l);
    if (problems->n == before)
        *ret = l->c;
    else {
        config_free(l->c);
        rc = RC_INVALID;
    }
    free(l);
    return rc;
}

struct config *config_free(struct config *c)
{
    if (!c) return NULL;
    arena_fini(&c->arena);
    free(c);
    return NULL;
}

void config_each_broker(const struct config *c,
                        void (*fn)(void *ctx, struct str name, struct str value, bool is_default),
                        void *ctx)
{
    static const struct str prefix = STR("broker.config.");

    for (int i = 0; i < CONFIG_KEYS; i++) {
        AUTO(buf_fini) struct buf value = {0};
        struct str key = str_of(config_rows[i].key);
        if (!str_starts(key, prefix)) continue;
        config_put_value(c, (enum config_key)i, &value);
        fn(ctx, (struct str){key.p + prefix.n, key.n - prefix.n}, buf_str(&value),
           c->origins[i].from == CONFIG_DEFAULT);
    }
    for (size_t i = 0; i < c->broker_config.n; i++)
        fn(ctx, c->broker_config.list[i].name, c->broker_config.list[i].value, false);
}
