/* net/budget.h - a ceiling on bytes that peers make us hold; who finds no room waits a moment or is refused.
 *
 * A claim is made for everything a request will need, before its first byte is kept: nobody holds a part while waiting
 * for the rest, so two that wait cannot block each other. First come, first served. One per loop.
 * Used by: exchange (request bodies), http1 and h2 (answers that wait for their reader).   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/list.h"
#include "net/loop.h"

struct budget {
    struct loop *loop;
    size_t used, max;                            /* max 0: no ceiling */
    uint32_t waiting, waiting_max;
    uint64_t wait_ms;
    struct list waiters;
    uint64_t refused;                            /* for metrics */
};

struct budget_claim {
    struct list link;
    struct timer timer;
    struct budget *budget;
    size_t held, wanted;
    /* After BUDGET_WAIT, once: granted, or the wait was too long. Not called after budget_drop(). */
    void (*settled)(struct budget_claim *c, bool granted);
};

enum budget_answer { BUDGET_GRANTED, BUDGET_WAIT, BUDGET_REFUSED };

void budget_init(struct budget *b, struct loop *l, size_t bytes_max);
/* A claim that could never be met is refused at once. */
enum budget_answer budget_claim(struct budget *b, struct budget_claim *c, size_t bytes,
                                void (*settled)(struct budget_claim *c, bool granted));
bool budget_more(struct budget_claim *c, size_t bytes);          /* for those who could not know; now or never */
/* For what is there already and cannot be refused, an answer for one: always granted, so that others wait. {0} is fine. */
void budget_hold(struct budget *b, struct budget_claim *c, size_t bytes);
void budget_drop(struct budget_claim *c);                        /* gives back, or stops waiting; {0} is fine */
