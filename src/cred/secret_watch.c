/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"
#include "cred/errand.h"
#include "cred/secret_core.h"

struct secret_watch {
    struct errand errand;
    struct secret_watch_options o;
    struct secret *seen;                         /* by the last run */
    struct err err;
    bool failing;
};

static void watch_run(struct errand *errand)
{
    struct secret_watch *w = container_of(errand, struct secret_watch, errand);
    struct err e = {0};
    enum rc rc = secret_read(w->o.source, &errand->stop, &w->seen, &e);

    err_keep(rc, &e);
    w->err = e;
}

/* Three to five quarters of the time between two looks. */
static uint64_t next_ms(const struct secret_watch *w)
{
    uint16_t chance;

    random_bytes(&chance, sizeof chance);
    return w->o.every_ms * 3 / 4 + w->o.every_ms / 2 * chance / 65536;
}

static uint64_t watch_done(struct errand *errand)
{
    struct secret_watch *w = container_of(errand, struct secret_watch, errand);
    bool was = w->failing;

    w->failing = w->err.rc != RC_OK;
    if (w->failing) {
        if (!was && w->o.failed) w->o.failed(w->o.ctx, &w->err);
        return next_ms(w);
    }
    if (w->o.known && secret_eq(w->o.known, w->seen)) {
        w->seen = secret_free(w->seen);
        return next_ms(w);
    }
    secret_free(w->o.known);
    w->o.known = w->seen;
    w->seen = NULL;
    w->o.changed(w->o.ctx, w->o.known);
    return next_ms(w);
}

static void watch_drop(struct errand *errand)
{
    struct secret_watch *w = container_of(errand, struct secret_watch, errand);

    secret_source_free(w->o.source);
    secret_free(w->o.known);
    secret_free(w->seen);
    free(w);
}

struct secret_watch *secret_watch_new(const struct secret_watch_options *o)
{
    struct secret_watch *w = xnew(struct secret_watch);
    struct str name = o->source->name;

    w->o = *o;
    if (!w->o.every_ms) w->o.every_ms = name.n && !secret_is_folder(name) ? SECRET_API_EVERY_MS : SECRET_FILES_EVERY_MS;
    w->errand = (struct errand){.loop = o->loop, .workers = o->workers, .run = watch_run, .done = watch_done, .drop = watch_drop};
    errand_in(&w->errand, o->known ? next_ms(w) : 0);
    return w;
}

void secret_watch_now(struct secret_watch *w)
{
    errand_now(&w->errand);
}

struct secret_watch *secret_watch_free(struct secret_watch *w)
{
    if (w) errand_end(&w->errand);
    return NULL;
}
