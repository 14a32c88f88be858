/* New messages out of old ones: what a pipeline does between two models.
 *
 * Fields are copied as they came wherever nothing in them changes, so a megabyte of tensor costs
 * one memcpy. Only a renamed tensor gets a new header, and only typed contents that must become raw
 * are looked at.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "oip/contents.h"
#include "oip/pb.h"

/* Copies the fields of `body` whose number is in [from, to], in runs. */
static void copy_fields(struct bytes body, uint32_t from, uint32_t to, struct buf *ret)
{
    struct pb_reader r = pb_reader_of(body);
    struct bytes run = {0};

    for (struct pb_field f; pb_next(&r, &f);) {
        if (f.number >= from && f.number <= to) {
            if (run.n && run.p + run.n == f.whole.p) {
                run.n += f.whole.n;
                continue;
            }
            buf_append(ret, run);
            run = f.whole;
        }
    }
    buf_append(ret, run);
}

static void put_names(const struct infer_names *names, struct str model_name,
                      struct str model_version, struct str id, struct buf *ret)
{
    if (names && names->model_name) model_name = *names->model_name;
    if (names && names->model_version) model_version = *names->model_version;
    if (names && names->id) id = *names->id;
    pb_put_str(ret, 1, model_name);
    pb_put_str(ret, 2, model_version);
    pb_put_str(ret, 3, id);
}

void infer_rename(const struct infer_view *v, const struct infer_names *names, struct buf *ret)
{
    buf_reserve(ret, v->message.n + 128);
    put_names(names, v->model_name, v->model_version, v->id, ret);
    copy_fields(v->message, 4, UINT32_MAX, ret);
}

/* ---- tensors ---- */

/* The tensor's field under another name; `bare` leaves the typed contents out. */
static void put_tensor(const struct infer_tensor *t, struct str name, bool bare, struct buf *ret)
{
    struct pb_reader r = pb_reader_of(t->field);
    struct pb_field f = {0};
    size_t n, dropped = 0;

    if (str_eq(name, t->name) && !(bare && t->has_contents)) {
        buf_append(ret, t->field);
        return;
    }
    pb_next(&r, &f); /* parsed before: cannot fail */
    r = pb_reader_of(f.bytes);
    n = f.bytes.n;
    for (struct pb_field in; pb_next(&r, &in);)
        if (in.number == 1 || (bare && in.number == 5)) dropped += in.whole.n;
    n = n - dropped + (name.n ? 1 + pb_varint_size(name.n) + name.n : 0);
    pb_put_len(ret, 5, n);
    pb_put_str(ret, 1, name);
    copy_fields(f.bytes, 2, bare ? 4 : UINT32_MAX, ret);
    if (bare) copy_fields(f.bytes, 6, UINT32_MAX, ret);
}

/* The name under which the part takes the tensor; false: it does not. */
static bool taken(const struct infer_part *part, const struct infer_tensor *t, struct str *ret_name)
{
    *ret_name = t->name;
    for (size_t i = 0; i < part->select_n; i++) {
        if (!str_eq(part->select[i].tensor, t->name)) continue;
        if (part->select[i].rename.n) *ret_name = part->select[i].rename;
        return true;
    }
    return part->all;
}

static enum rc put_raw(const struct infer_tensor *t, uint32_t number, struct buf *ret,
                       struct err *e)
{
    AUTO(buf_fini) struct buf raw = {0};
    struct bytes ready;

    if (t->has_raw) {
        pb_put_bytes(ret, number, t->raw);
        return RC_OK;
    }
    if (contents_as_raw(t, &ready)) {
        if (contents_check(t, e)) return e->rc;
        pb_put_bytes(ret, number, ready);
        return RC_OK;
    }
    if (infer_tensor_raw(t, &raw, e)) return e->rc;
    pb_put_bytes(ret, number, buf_view(&raw));
    return RC_OK;
}

static size_t survey(const struct infer_part *parts, size_t parts_n, bool *ret_raw,
                     size_t *ret_bytes)
{
    size_t n = 0;
    struct str name;

    *ret_raw = false;
    *ret_bytes = 256;
    for (size_t k = 0; k < parts_n; k++)
        for (size_t i = 0; i < parts[k].view->tensors_n; i++) {
            const struct infer_tensor *t = &parts[k].view->tensors[i];

            if (!taken(&parts[k], t, &name)) continue;
            n++;
            *ret_raw = *ret_raw || t->has_raw;
            *ret_bytes += t->field.n + t->raw.n + name.n + 16;
        }
    return n;
}

enum rc infer_build(const struct infer_part *parts, size_t parts_n, enum infer_kind to,
                    const struct infer_names *names, struct buf *ret, size_t *ret_taken,
                    struct err *e)
{
    size_t start = ret->n, bytes, n;
    bool raw;
    struct str name;

    n = survey(parts, parts_n, &raw, &bytes);
    buf_reserve(ret, bytes);
    put_names(names, (struct str){0}, (struct str){0},
              parts_n ? parts[0].view->id : (struct str){0}, ret);
    for (size_t i = 0; parts_n && i < parts[0].view->params.n; i++)
        pb_put_bytes(ret, 4, parts[0].view->params.entries[i]);
    for (size_t k = 0; k < parts_n; k++)
        for (size_t i = 0; i < parts[k].view->tensors_n; i++)
            if (taken(&parts[k], &parts[k].view->tensors[i], &name))
                put_tensor(&parts[k].view->tensors[i], name, raw, ret);
    for (size_t k = 0; k < parts_n && raw; k++)
        for (size_t i = 0; i < parts[k].view->tensors_n; i++) {
            if (!taken(&parts[k], &parts[k].view->tensors[i], &name)) continue;
            if (put_raw(&parts[k].view->tensors[i], infer_raw_field(to), ret, e)) goto fail;
        }
    if (ret_taken) *ret_taken = n;
    return RC_OK;
fail:
    ret->n = start;
    return e->rc;
}

bool infer_wants_raw(const struct infer_view *v)
{
    for (size_t i = 0; i < v->tensors_n; i++)
        if (v->tensors[i].has_contents &&
            (v->tensors[i].type == DT_FP16 || v->tensors[i].type == DT_BF16))
            return true;
    return false;
}

enum rc infer_rename_raw(const struct infer_view *v, const struct infer_names *names,
                         struct buf *ret, struct err *e)
{
    size_t start = ret->n;
    uint32_t number = infer_raw_field(v->kind);

    buf_reserve(ret, v->message.n + 128);
    put_names(names, v->model_name, v->model_version, v->id, ret);
    copy_fields(v->message, 4, 4, ret);
    for (size_t i = 0; i < v->tensors_n; i++)
        put_tensor(&v->tensors[i], v->tensors[i].name, true, ret);
    copy_fields(v->message, 6, number - 1, ret);
    for (size_t i = 0; i < v->tensors_n; i++) {
        if (!put_raw(&v->tensors[i], number, ret, e)) continue;
        ret->n = start;
        return e->rc;
    }
    copy_fields(v->message, number + 1, UINT32_MAX, ret);
    return RC_OK;
}
