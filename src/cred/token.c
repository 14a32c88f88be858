/* SPDX-License-Identifier: Apache-2.0 */
#include "cred/token.h"
#include "base/rng.h"
#include "cred/errand.h"

enum { RETRY_FIRST_MS = 1000, RETRY_MAX_MS = 60000, SOON_MS = 500, AHEAD_MAX_MS = 24 * 3600 * 1000 };

void token_fini(struct token *t)
{
    buf_wipe(&t->value);
    for (size_t i = 0; i < t->extensions_n; i++)
        free(t->extensions[i]);
    free(t->extensions);
    *t = (struct token){0};
}

struct token_maker *token_maker_free(struct token_maker *m)
{
    if (m) m->free(m);
    return NULL;
}

/* ---- when ---- */

/* At 70 to 80 percent of what is left. */
uint64_t token_refresh_in_ms(int64_t now_ms, int64_t expires_ms, uint16_t chance)
{
    uint64_t left = expires_ms > now_ms ? (uint64_t)(expires_ms - now_ms) : 0;
    uint64_t in = MIN(left, (uint64_t)AHEAD_MAX_MS) / 10 * 8;

    return MAX(in - in / 8 * chance / 65536, (uint64_t)SOON_MS);
}

/* Three to five quarters of 1, 2, 4 … 60 seconds, and at most half of what is left. */
uint64_t token_retry_in_ms(unsigned failures, int64_t left_ms, uint16_t chance)
{
    uint64_t in = MIN((uint64_t)RETRY_FIRST_MS << MIN(failures ? failures - 1 : 0, 10u), (uint64_t)RETRY_MAX_MS);

    in = in * 3 / 4 + in / 2 * chance / 65536;
    if (left_ms > 0) in = MIN(in, (uint64_t)left_ms / 2);
    return MAX(in, (uint64_t)SOON_MS);
}

/* ---- keeping ---- */

struct token_keeper {
    struct errand errand;
    struct token_keeper_options o;
    struct token made;                           /* by the last run; the worker's while it is out */
    struct err err;
    int64_t expires_ms;                          /* of the one in use; 0: none */
    unsigned failures;
};

static uint16_t a_chance(void)
{
    uint16_t chance;

    random_bytes(&chance, sizeof chance);
    return chance;
}

static void keeper_run(struct errand *errand)
{
    struct token_keeper *k = container_of(errand, struct token_keeper, errand);
    struct err e = {0};
    enum rc rc = token_make(k->o.maker, &errand->stop, &k->made, &e);

    err_keep(rc, &e);
    k->err = e;
}

static uint64_t keeper_done(struct errand *errand)
{
    struct token_keeper *k = container_of(errand, struct token_keeper, errand);
    int64_t now = clock_wall_ms(loop_clock(errand->loop));

    if (k->err.rc) {
        k->failures++;
        if (k->o.failed) k->o.failed(k->o.ctx, &k->err);
        return token_retry_in_ms(k->failures, k->expires_ms - now, a_chance());
    }
    k->failures = 0;
    k->expires_ms = k->made.expires_ms;
    k->o.fresh(k->o.ctx, &k->made);
    token_fini(&k->made);
    return token_refresh_in_ms(now, k->expires_ms, a_chance());
}

static void keeper_drop(struct errand *errand)
{
    struct token_keeper *k = container_of(errand, struct token_keeper, errand);

    token_maker_free(k->o.maker);
    token_fini(&k->made);
    free(k);
}

struct token_keeper *token_keeper_new(const struct token_keeper_options *o)
{
    struct token_keeper *k = xnew(struct token_keeper);
    int64_t now = clock_wall_ms(loop_clock(o->loop));

    k->o = *o;
    k->expires_ms = o->first_expires_ms;
    k->errand = (struct errand){.loop = o->loop, .workers = o->workers, .run = keeper_run, .done = keeper_done, .drop = keeper_drop};
    errand_in(&k->errand, o->first_expires_ms ? token_refresh_in_ms(now, o->first_expires_ms, a_chance()) : 0);
    return k;
}

void token_keeper_now(struct token_keeper *k)
{
    errand_now(&k->errand);
}

struct token_keeper *token_keeper_free(struct token_keeper *k)
{
    if (k) errand_end(&k->errand);
    return NULL;
}
