/* A struct secret is one mapping of its own: head, pairs, then the bytes, left out of core dumps and cleared at the end.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cred/secret.h"
#include "cred/secret_core.h"
#include "sys/fs.h"
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

struct pair { struct str key; struct bytes value; };
struct secret {
    atomic_uint owners;
    size_t size, n;
    struct pair v[];
};

/* ---- what was read ---- */

void draft_put(struct secret_draft *d, struct str key, struct buf *value)
{
    d->v = xrealloc(d->v, d->n + 1, sizeof *d->v);
    d->v[d->n++] = (struct secret_pair){.key = str_own(key), .value = buf_take(value)};
}

const struct secret_pair *draft_find(const struct secret_draft *d, struct str key)
{
    for (size_t i = 0; i < d->n; i++)
        if (str_eq(d->v[i].key, key)) return &d->v[i];
    return NULL;
}

void draft_fini(struct secret_draft *d)
{
    for (size_t i = 0; i < d->n; i++) {
        str_drop(&d->v[i].key);
        buf_wipe(&d->v[i].value);
    }
    free(d->v);
    *d = (struct secret_draft){0};
}

static struct bytes without_line_end(struct bytes b)
{
    while (b.n && (b.p[b.n - 1] == '\n' || b.p[b.n - 1] == '\r'))
        b.n--;
    return b;
}

struct secret *secret_of(const struct secret_draft *d)
{
    size_t size = sizeof(struct secret) + d->n * sizeof(struct pair);
    struct secret *s;
    uint8_t *at;

    for (size_t i = 0; i < d->n; i++)
        size += d->v[i].key.n + d->v[i].value.n + 2;
    s = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(s != MAP_FAILED);
    madvise(s, size, MADV_DONTDUMP);
    atomic_init(&s->owners, 1);
    s->size = size;
    s->n = d->n;
    at = (uint8_t *)(s->v + s->n);
    for (size_t i = 0; i < s->n; i++) {
        struct bytes value = without_line_end(buf_view(&d->v[i].value));

        if (d->v[i].key.n) memcpy(at, d->v[i].key.p, d->v[i].key.n);
        s->v[i].key = (struct str){(const char *)at, d->v[i].key.n};
        at += d->v[i].key.n + 1;
        if (value.n) memcpy(at, value.p, value.n);
        s->v[i].value = bytes_of(at, value.n);
        at += value.n + 1;
    }
    return s;
}

struct secret *secret_hold(struct secret *s)
{
    atomic_fetch_add(&s->owners, 1);
    return s;
}

struct secret *secret_free(struct secret *s)
{
    if (!s || atomic_fetch_sub(&s->owners, 1) > 1) return NULL;
    explicit_bzero(s->v, s->size - sizeof *s);
    munmap(s, s->size);
    return NULL;
}

bool secret_get(const struct secret *s, struct str key, struct bytes *ret)
{
    for (size_t i = 0; i < s->n; i++) {
        if (!str_eq(s->v[i].key, key)) continue;
        *ret = s->v[i].value;
        return true;
    }
    return false;
}

struct str secret_text(const struct secret *s, struct str key)
{
    struct bytes b = {0};

    return secret_get(s, key, &b) ? bytes_str(b) : STR("");
}

bool secret_eq(const struct secret *a, const struct secret *b)
{
    struct bytes other;

    if (a->n != b->n) return false;
    for (size_t i = 0; i < a->n; i++)
        if (!secret_get(b, a->v[i].key, &other) || !bytes_eq(a->v[i].value, other)) return false;
    return true;
}

/* ---- where it is ---- */

struct str item_key(const struct secret_item *i)
{
    struct str key = i->path;

    for (size_t at = key.n; at > 0; at--)
        if (key.p[at - 1] == '/') return (struct str){key.p + at, key.n - at};
    return key;
}

bool secret_is_folder(struct str name)
{
    return name.n && memchr(name.p, '/', name.n);
}

struct secret_source *secret_source_new(const struct secret_options *o)
{
    struct secret_source *s = xnew(struct secret_source);

    s->what = str_own(o->what);
    s->name = str_own(o->name);
    s->ns = str_own(o->ns);
    s->account_dir = str_own(o->account_dir);
    s->items = xnew_array(struct secret_item, o->items_n ? o->items_n : 1);
    for (; s->items_n < o->items_n; s->items_n++)
        s->items[s->items_n] = (struct secret_item){.path = str_own(o->items[s->items_n].path), .optional = o->items[s->items_n].optional};
    return s;
}

struct secret_source *secret_source_free(struct secret_source *s)
{
    if (!s) return NULL;
    for (size_t i = 0; i < s->items_n; i++)
        str_drop(&s->items[i].path);
    free(s->items);
    str_drop(&s->what);
    str_drop(&s->name);
    str_drop(&s->ns);
    str_drop(&s->account_dir);
    free(s);
    return NULL;
}

/* ---- reading: files ---- */

static enum rc file_failed(const struct secret_source *s, const char *path, struct err *e)
{
    struct str key = str_of(path);

    key = item_key(&(struct secret_item){.path = key});
    if (e->rc == RC_NOT_FOUND && secret_is_folder(s->name))
        return err_set(e, RC_NOT_FOUND, "the folder " STR_FMT " has no key " STR_FMT " (%s); check the name of the key and that the Secret is mounted there",
                       STR_ARG(s->name), STR_ARG(key), path);
    if (e->rc == RC_NOT_FOUND) return err_set(e, RC_NOT_FOUND, "there is no file %s; check the path in the configuration", path);
    if (e->rc == RC_DENIED) return err_set(e, RC_DENIED, "the file %s may not be read by this process; check its owner and mode", path);
    return e->rc;
}

/* A file that changes while it is read is read again by the watch. */
static enum rc item_load(const struct secret_source *s, const struct secret_item *i, struct secret_draft *into, struct err *e)
{
    AUTO(buf_fini) struct buf path = {0};
    AUTO(buf_wipe) struct buf value = {0};
    struct fs_stat st;
    enum rc rc;

    if (secret_is_folder(s->name))
        buf_printf(&path, STR_FMT "/" STR_FMT, STR_ARG(s->name), STR_ARG(item_key(i)));
    else
        buf_append_str(&path, i->path);
    rc = fs_stat(&fs_real, buf_cstr(&path), &st, e);
    if (rc == RC_NOT_FOUND && i->optional) return RC_OK;
    if (!rc && st.is_dir) return err_set(e, RC_INVALID, "%s is a folder, and a file is wanted", buf_cstr(&path));
    if (!rc) buf_reserve(&value, MIN(st.size, (uint64_t)SECRET_BYTES_MAX) + 1);     /* so that it never moves */
    if (!rc) rc = fs_load(&fs_real, buf_cstr(&path), SECRET_BYTES_MAX, &value, e);
    if (rc) return file_failed(s, buf_cstr(&path), e);
    draft_put(into, i->path, &value);
    return RC_OK;
}

static enum rc files_read(const struct secret_source *s, struct secret_draft *into, struct err *e)
{
    for (size_t i = 0; i < s->items_n; i++)
        if (!draft_find(into, s->items[i].path) && item_load(s, &s->items[i], into, e)) return e->rc;
    return RC_OK;
}

/* ---- reading: the API server ---- */

static enum rc no_key(const struct secret_source *s, struct str key, const struct secret_draft *all, struct err *e)
{
    AUTO(buf_fini) struct buf has = {0};

    for (size_t i = 0; i < all->n; i++)
        buf_printf(&has, "%s" STR_FMT, i ? ", " : "", STR_ARG(all->v[i].key));
    return err_set(e, RC_NOT_FOUND, "the Kubernetes Secret " STR_FMT " has no key " STR_FMT "; it has %.200s. Add the key, or set the path whose last part is the key",
                   STR_ARG(s->name), STR_ARG(key), has.n ? buf_cstr(&has) : "none");
}

static enum rc api_read(const struct secret_source *s, const atomic_bool *stop, struct secret_draft *into, struct err *e)
{
    AUTO(draft_fini) struct secret_draft all = {0};

    if (k8s_read(s, stop, &all, e)) return e->rc;
    for (size_t i = 0; i < s->items_n; i++) {
        struct str key = item_key(&s->items[i]);
        const struct secret_pair *p = draft_find(&all, key);
        struct buf copy = {0};

        if ((!p && s->items[i].optional) || draft_find(into, s->items[i].path)) continue;
        if (!p) return no_key(s, key, &all, e);
        buf_append(&copy, buf_view(&p->value));
        draft_put(into, s->items[i].path, &copy);
    }
    return RC_OK;
}

enum rc secret_read(const struct secret_source *s, const atomic_bool *stop, struct secret **ret, struct err *e)
{
    AUTO(draft_fini) struct secret_draft d = {0};
    bool files = !s->name.n || secret_is_folder(s->name);

    if (files ? files_read(s, &d, e) : api_read(s, stop, &d, e)) return err_in(e, STR_FMT, STR_ARG(s->what));
    *ret = secret_of(&d);
    return RC_OK;
}

/* ---- for a library that reads files only ---- */

enum rc secret_file_open(struct secret_file *f, struct err *e)
{
    f->fd = memfd_create("millrace-pem", MFD_CLOEXEC);
    if (f->fd < 0) return err_sys(e, "memfd_create");
    snprintf(f->path, sizeof f->path, "/proc/self/fd/%d", f->fd);
    return RC_OK;
}

enum rc secret_file_fill(const struct secret_file *f, struct bytes value, struct err *e)
{
    if (ftruncate(f->fd, 0)) return err_sys(e, "truncate %s", f->path);
    for (size_t at = 0; at < value.n;) {
        ssize_t n = pwrite(f->fd, value.p + at, value.n - at, (off_t)at);

        if (n < 0) return err_sys(e, "write %s", f->path);
        at += (size_t)n;
    }
    return RC_OK;
}

void secret_file_close(struct secret_file *f)
{
    close(f->fd);
}
