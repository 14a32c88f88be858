/* bus/capabilities.c - the table as such; what is in it is found by each bus. SPDX-License-Identifier: Apache-2.0 */
#include "bus/capabilities.h"
#include "base/diag.h"
#include <stdio.h>
#include <string.h>

enum rc bus_capabilities(struct bus *b, struct capabilities *ret, struct err *e)
{
    ret->n = 0;
    if (!b->ops->capabilities) return err_set(e, RC_UNSUPPORTED, "the log is in this process");
    return b->ops->capabilities(b, ret, e);
}

struct capability *capability_add(struct capabilities *c, const char *name, const char *value_fmt, ...)
{
    static _Thread_local struct capability overflow;
    struct capability *row = c->n < CAPABILITIES_MAX ? &c->list[c->n++] : &overflow;
    va_list ap;

    *row = (struct capability){.name = name};
    va_start(ap, value_fmt);
    vsnprintf(row->value, sizeof row->value, value_fmt, ap);
    va_end(ap);
    return row;
}

void capability_effect(struct capability *row, bool degraded, const char *fmt, ...)
{
    va_list ap;

    row->degraded = degraded;
    va_start(ap, fmt);
    vsnprintf(row->effect, sizeof row->effect, fmt, ap);
    va_end(ap);
}

/* Names with spaces would be no keys. */
static const char *key_of(const char *name, char *to, size_t n)
{
    snprintf(to, n, "%s", name);
    for (char *c = to; *c; c++)
        if (*c == ' ') *c = '_';
    return to;
}

void capabilities_log(const struct capabilities *c)
{
    static struct diag_site site;
    struct diag_kv kv[CAPABILITIES_MAX];
    char keys[CAPABILITIES_MAX][32];

    for (size_t i = 0; i < c->n; i++)
        kv[i] = KV_CSTR(key_of(c->list[i].name, keys[i], sizeof keys[i]), c->list[i].value);
    if (diag_wants(DIAG_INFO, "kafka.capabilities")) diag_write(&site, DIAG_INFO, "kafka.capabilities", kv, c->n);
    for (size_t i = 0; i < c->n; i++)
        if (c->list[i].degraded)
            diag(DIAG_WARN, "kafka.degraded", KV_CSTR("what", c->list[i].name), KV_CSTR("found", c->list[i].value), KV_CSTR("effect", c->list[i].effect));
}

void capabilities_put(const struct capabilities *c, struct buf *b)
{
    int wide = 0;

    for (size_t i = 0; i < c->n; i++)
        wide = MAX(wide, (int)strlen(c->list[i].name));
    for (size_t i = 0; i < c->n; i++) {
        const struct capability *row = &c->list[i];

        buf_printf(b, "%c %-*s  %s\n", row->degraded ? '!' : ' ', wide, row->name, row->value);
        if (*row->effect) buf_printf(b, "  %-*s  -> %s\n", wide, "", row->effect);
    }
}
