/* Design note: loaded models belong to the prediction lane, so jobs of all loops share them without a lock. A request is
 * copied into its job: its owner may give up while the lane still computes. SPDX-License-Identifier: Apache-2.0 */
#include "upstream/builtin.h"
#include "base/list.h"
#include "base/map.h"
#include "sys/worker.h"
#include "sys/worker_lanes.h"
#include "upstream/xgb.h"
#include <sys/stat.h>

enum { MODELS_MAX = 64 };

struct builtin {
    struct workers *workers;
    struct mailbox *home;
};

struct builtin_job {
    struct work work;
    struct workers *workers;
    enum builtin_what what;
    struct buf path, model, version, request, response;
    struct err err;
    void (*done)(void *ctx, const struct err *e, struct buf *response);
    void *ctx;
};

/* ---- On the lane ---- */

struct loaded {
    struct list link;
    char *path;
    struct xgb_model *model;
    struct timespec changed;
};
struct shelf {
    struct map by_path;
    struct list newest;
    size_t n;
};

static void loaded_free(struct shelf *s, struct loaded *l)
{
    map_del_str(&s->by_path, str_of(l->path));
    list_remove(&l->link);
    s->n--;
    xgb_free(l->model);
    free(l->path);
    free(l);
}

static void shelf_drop(void *p)
{
    struct shelf *s = p;

    while (!list_empty(&s->newest))
        loaded_free(s, container_of(s->newest.next, struct loaded, link));
    map_fini(&s->by_path);
    free(s);
}

static struct shelf *shelf_of(struct workers *w)
{
    struct lane_state *state = workers_lane(w, LANE_BUILTIN);

    if (!state->p) {
        struct shelf *s = xnew(struct shelf);

        list_init(&s->newest);
        *state = (struct lane_state){s, shelf_drop};
    }
    return state->p;
}

/* Whatever is wrong with the file, the caller is told that the model cannot be had now; nothing is remembered, so that a
 * file that is put right is found by the next call. */
static enum rc unloadable(struct err *e)
{
    err_in(e, "the built-in runtime cannot load it");
    e->retry = false;
    return e->rc = RC_UNAVAILABLE;
}

/* The model, loaded now if it is not, or if its file changed. */
static enum rc fetch(struct shelf *s, struct buf *path, struct xgb_model **ret, struct err *e)
{
    struct loaded *l = map_get(&s->by_path, buf_view(path));
    AUTO(buf_fini) struct buf file = {0};
    struct xgb_model *m = NULL;
    struct stat st = {0};

    if (xgb_file(buf_str(path), &file, e)) return unloadable(e);
    stat(buf_cstr(&file), &st);
    if (l && l->changed.tv_sec == st.st_mtim.tv_sec && l->changed.tv_nsec == st.st_mtim.tv_nsec) {
        list_remove(&l->link);
        list_push_front(&s->newest, &l->link);
        *ret = l->model;
        return RC_OK;
    }
    if (l) loaded_free(s, l);
    if (xgb_load(buf_str(path), &m, e)) return unloadable(e);
    if (s->n == MODELS_MAX) loaded_free(s, container_of(s->newest.prev, struct loaded, link));
    l = xnew(struct loaded);
    l->path = xstrdup(buf_cstr(path));
    l->model = m;
    l->changed = st.st_mtim;
    map_put_str(&s->by_path, str_of(l->path), l);
    list_push_front(&s->newest, &l->link);
    s->n++;
    *ret = m;
    return RC_OK;
}

static void job_run(struct work *w)
{
    struct builtin_job *j = container_of(w, struct builtin_job, work);
    struct shelf *s = shelf_of(j->workers);
    struct xgb_model *m = NULL;
    struct loaded *l;

    if (j->what == BUILTIN_UNLOAD) {
        if ((l = map_get(&s->by_path, buf_view(&j->path)))) loaded_free(s, l);
        return;
    }
    if (err_keep(fetch(s, &j->path, &m, &j->err), &j->err)) return;
    if (j->what == BUILTIN_PREDICT) {
        if (err_keep(xgb_predict(m, buf_view(&j->request), &j->response, &j->err), &j->err))
            err_in(&j->err, "model " STR_FMT, STR_ARG(buf_str(&j->model)));
    }
    if (j->what == BUILTIN_METADATA)
        xgb_metadata(m, buf_str(&j->model), buf_str(&j->version), &j->response);
}

/* ---- On the loop ---- */

static void job_done(struct work *w)
{
    struct builtin_job *j = container_of(w, struct builtin_job, work);

    if (j->done) j->done(j->ctx, &j->err, &j->response);
    buf_fini(&j->path);
    buf_fini(&j->model);
    buf_fini(&j->version);
    buf_fini(&j->request);
    buf_fini(&j->response);
    free(j);
}

struct builtin_job *
builtin_start(struct builtin *b, enum builtin_what what, struct str path, struct str model,
              struct str version, struct bytes request,
              void (*done)(void *ctx, const struct err *e, struct buf *response), void *ctx)
{
    struct builtin_job *j = xnew(struct builtin_job);

    j->workers = b->workers;
    j->what = what;
    j->done = done;
    j->ctx = ctx;
    buf_append_str(&j->path, path);
    buf_append_str(&j->model, model);
    buf_append_str(&j->version, version);
    buf_append(&j->request, request);
    j->work = (struct work){.run = job_run, .done = job_done, .reply_to = b->home, .lane = LANE_BUILTIN};
    workers_submit(b->workers, &j->work);
    return j;
}

void builtin_forget(struct builtin_job *j)
{
    j->done = NULL;
}

struct builtin *builtin_new(struct workers *w, struct mailbox *home)
{
    struct builtin *b = xnew(struct builtin);

    b->workers = w;
    b->home = home;
    return b;
}

struct builtin *builtin_free(struct builtin *b)
{
    free(b);
    return NULL;
}
