/* See bus/remote_gate.h. SPDX-License-Identifier: Apache-2.0 */
#include "bus/remote_gate.h"
#include "base/macros.h"

void gate_init(struct gate *g)
{
    *g = (struct gate){0};
    pthread_mutex_init(&g->lock, NULL);
}

void gate_fini(struct gate *g)
{
    pthread_mutex_destroy(&g->lock);
}

static bool may_pass(struct gate *g, bool knocks, uint64_t now_ms)
{
    if (!g->refused_ms) return true;
    if (g->passed_ms > g->refused_ms && now_ms - g->passed_ms >= GATE_ANSWER_MS) {
        g->refused_ms = 0;
        return true;
    }
    if (now_ms < g->next_ms + (knocks ? 0 : GATE_OTHERS_MS)) return false;
    g->passed_ms = now_ms;
    g->next_ms = now_ms + g->wait_ms;
    g->wait_ms = MIN(g->wait_ms * 2, (uint64_t)GATE_MAX_MS);
    return true;
}

bool gate_pass(struct gate *g, bool knocks, uint64_t now_ms)
{
    bool may;

    pthread_mutex_lock(&g->lock);
    may = may_pass(g, knocks, now_ms);
    pthread_mutex_unlock(&g->lock);
    return may;
}

static void next_try(struct gate *g, uint64_t at_ms)
{
    g->next_ms = at_ms;
    g->wait_ms = GATE_FIRST_MS;
}

void gate_refused(struct gate *g, uint64_t now_ms)
{
    pthread_mutex_lock(&g->lock);
    if (!g->refused_ms) next_try(g, now_ms + GATE_FIRST_MS);
    g->refused_ms = now_ms;
    pthread_mutex_unlock(&g->lock);
}

/* Not opened: they may be wrong, too. */
void gate_changed(struct gate *g, uint64_t now_ms)
{
    pthread_mutex_lock(&g->lock);
    if (g->refused_ms) next_try(g, now_ms);
    pthread_mutex_unlock(&g->lock);
}

/* By a connection from before the refusals, perhaps: only a later one opens. */
void gate_answered(struct gate *g)
{
    pthread_mutex_lock(&g->lock);
    if (g->passed_ms > g->refused_ms) g->refused_ms = 0;
    pthread_mutex_unlock(&g->lock);
}
