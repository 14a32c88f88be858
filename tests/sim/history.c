/* SPDX-License-Identifier: Apache-2.0 */
#include "history.h"

#include <stdio.h>

void history_fini(struct history *h)
{
    free(h->events);
    free(h->logs);
    free(h->regs);
    *h = (struct history){0};
}

uint32_t history_add(struct history *h, struct event e)
{
    if (h->n == h->cap) {
        h->cap = h->cap ? h->cap * 2 : 1024;
        h->events = xrealloc(h->events, h->cap, sizeof *h->events);
    }
    h->events[h->n] = e;
    return (uint32_t)h->n++;
}

uint32_t history_log_add(struct history *h, const char *name)
{
    h->logs = xrealloc(h->logs, h->logs_n + 1, sizeof *h->logs);
    h->logs[h->logs_n] = (struct history_log){0};
    snprintf(h->logs[h->logs_n].name, sizeof h->logs[0].name, "%s", name);
    return (uint32_t)h->logs_n++;
}

uint32_t history_reg(struct history *h, const char *name)
{
    for (size_t i = 0; i < h->regs_n; i++)
        if (!strcmp(h->regs[i].name, name)) return (uint32_t)i;
    h->regs = xrealloc(h->regs, h->regs_n + 1, sizeof *h->regs);
    snprintf(h->regs[h->regs_n].name, sizeof h->regs[0].name, "%s", name);
    return (uint32_t)h->regs_n++;
}

static const char *const kinds[] = {
    [EVENT_SEND] = "send",        [EVENT_SENT] = "sent",
    [EVENT_SEEK] = "seek",        [EVENT_READ] = "read",
    [EVENT_POLLED] = "polled",    [EVENT_WRITE] = "write",
    [EVENT_WRITTEN] = "written",  [EVENT_LOOK] = "look",
    [EVENT_SEEN] = "seen",        [EVENT_BOUNDS_ASK] = "bounds?",
    [EVENT_BOUNDS] = "bounds",    [EVENT_TRIM] = "trim",
    [EVENT_TRIMMED] = "trimmed",  [EVENT_JOIN] = "join",
    [EVENT_OWNS] = "owns",        [EVENT_LEASE] = "lease",
    [EVENT_YIELD] = "yield",      [EVENT_ALIVE] = "alive",
    [EVENT_TXN_END] = "end txn",
    [EVENT_TXN_ENDED] = "ended",  [EVENT_POWER_CUT] = "POWER CUT",
    [EVENT_START] = "START",      [EVENT_FINAL] = "final",
    [EVENT_STUCK] = "stuck",
};
static const char *const results[] = {"ok", "failed", "unknown"};

static bool is_of_group(enum event_kind k)
{
    return k >= EVENT_JOIN && k <= EVENT_ALIVE;
}

static bool is_of_register(enum event_kind k)
{
    return k == EVENT_WRITE || k == EVENT_WRITTEN || k == EVENT_LOOK || k == EVENT_SEEN;
}

void event_print(const struct history *h, size_t at, struct buf *into)
{
    const struct event *e = &h->events[at];

    buf_printf(into, "%6zu %9.3f ms  client %-2u %-8s", at, (double)e->at_us / 1000, e->client,
               kinds[e->kind]);
    if (is_of_register(e->kind) || is_of_group(e->kind))
        buf_printf(into, " [%s]", e->reg < h->regs_n ? h->regs[e->reg].name : "?");
    if (!is_of_register(e->kind) && e->kind != EVENT_JOIN && e->kind < EVENT_TXN_END)
        buf_printf(into, " %s", e->log < h->logs_n ? h->logs[e->log].name : "?");
    if (e->kind == EVENT_FINAL) buf_printf(into, " %s", h->logs[e->log].name);
    buf_printf(into, " value %llu offset %lld next %lld", (unsigned long long)e->value,
               (long long)e->offset, (long long)e->next);
    if (e->txn) buf_printf(into, " txn %u", e->txn);
    if (e->source) buf_printf(into, " of value %llu", (unsigned long long)e->source);
    if (e->key) buf_printf(into, " key %u", e->key);
    if (e->begun) buf_printf(into, " (begun %u) %s", e->begun, results[e->result]);
    if (e->committed) buf_append_str(into, STR(" committed"));
    if (e->bus) buf_append_str(into, STR(" bus"));
    buf_append_byte(into, '\n');
}
