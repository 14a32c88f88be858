/* SPDX-License-Identifier: Apache-2.0 */
#include "oip/rows.h"
#include "oip/contents.h"
#include "oip/pb.h"

bool infer_rows(const struct infer_view *v, uint64_t *ret)
{
    for (size_t i = 0; i < v->tensors_n; i++) {
        const struct infer_tensor *t = &v->tensors[i];

        if (t->shape_n == 0 || t->shape[0] < 1 || t->shape[0] != v->tensors[0].shape[0] || t->type == DT_UNKNOWN) return false;
    }
    if (v->tensors_n) *ret = (uint64_t)v->tensors[0].shape[0];
    return v->tensors_n > 0;
}

static bool params_same(struct infer_params a, struct infer_params b)
{
    bool same = a.n == b.n;

    for (size_t i = 0; i < a.n && same; i++)
        same = bytes_eq(a.entries[i], b.entries[i]);
    return same;
}

bool infer_rows_fit(const struct infer_view *a, const struct infer_view *b)
{
    bool fit = a->tensors_n == b->tensors_n && params_same(a->params, b->params);

    for (size_t i = 0; i < a->tensors_n && fit; i++) {
        const struct infer_tensor *x = &a->tensors[i], *y = &b->tensors[i];

        fit = str_eq(x->name, y->name) && str_eq(x->datatype, y->datatype) && x->shape_n == y->shape_n &&
              params_same(x->params, y->params) &&
              memcmp(x->shape + 1, y->shape + 1, (x->shape_n - 1) * sizeof *x->shape) == 0;
    }
    return fit;
}

/* Everything of a tensor but its data, which follows; the field stays open. */
static size_t tensor_begin(const struct infer_tensor *t, uint64_t rows, struct buf *ret)
{
    size_t at = pb_begin(ret, 5), shape;

    pb_put_str(ret, 1, t->name);
    pb_put_str(ret, 2, t->datatype);
    shape = pb_begin(ret, 3);
    for (size_t i = 0; i < t->shape_n; i++)
        pb_put_varint(ret, i ? (uint64_t)t->shape[i] : rows);
    pb_end(ret, shape);
    for (size_t i = 0; i < t->params.n; i++)
        pb_put_bytes(ret, 4, t->params.entries[i]);
    return at;
}

static bool any_raw(const struct infer_view *v)
{
    for (size_t i = 0; i < v->tensors_n; i++)
        if (v->tensors[i].has_raw) return true;
    return false;
}

static void params_put(const struct infer_view *v, struct str id, struct buf *ret)
{
    pb_put_str(ret, 3, id);
    for (size_t i = 0; i < v->params.n; i++)
        pb_put_bytes(ret, 4, v->params.entries[i]);
}

enum rc infer_rows_join(const struct infer_view *const *views, size_t n, struct buf *ret, struct err *e)
{
    const struct infer_view *last = views[n - 1];
    size_t start = ret->n, bytes = 0;
    bool raw = false;

    for (size_t k = 0; k < n; k++) {
        raw |= any_raw(views[k]);
        bytes += views[k]->message.n;
    }
    buf_reserve(ret, bytes + 64);
    params_put(last, last->id, ret);
    for (size_t i = 0; i < last->tensors_n; i++) {
        uint64_t rows = 0;
        size_t at, contents;

        for (size_t k = 0; k < n; k++)
            rows += (uint64_t)views[k]->tensors[i].shape[0];
        at = tensor_begin(&last->tensors[i], rows, ret);
        contents = raw ? 0 : pb_begin(ret, 5);
        for (size_t k = 0; k < n && !raw; k++)   /* one message after the other: their repeated fields are put together */
            buf_append(ret, views[k]->tensors[i].contents);
        if (!raw) pb_end(ret, contents);
        pb_end(ret, at);
    }
    for (size_t i = 0; i < last->tensors_n && raw; i++) {
        size_t at = pb_begin(ret, infer_raw_field(INFER_REQUEST));

        for (size_t k = 0; k < n; k++)
            if (infer_tensor_raw(&views[k]->tensors[i], ret, e)) {
                ret->n = start;
                return e->rc;
            }
        pb_end(ret, at);
    }
    return RC_OK;
}

/* Where row `row` begins in the raw data. */
static size_t row_at(const struct infer_tensor *t, struct bytes raw, uint64_t row, uint64_t total)
{
    uint64_t elements = 0;
    size_t at = 0;

    if (t->type != DT_BYTES) return (size_t)(raw.n / total * row);
    if (!infer_tensor_count(t, &elements)) return raw.n;
    for (uint64_t i = 0; i < elements / total * row && at + 4 <= raw.n; i++)
        at += 4 + load_le32(raw.p + at);
    return MIN(at, raw.n);
}

enum rc infer_rows_take(const struct infer_view *v, uint64_t from, uint64_t n, uint64_t total, struct str id,
                        struct buf *ret, struct err *e)
{
    AUTO(buf_fini) struct buf raws = {0};
    bool raw = any_raw(v);
    size_t start = ret->n;

    pb_put_str(ret, 1, v->model_name);
    pb_put_str(ret, 2, v->model_version);
    params_put(v, id, ret);
    for (size_t i = 0; i < v->tensors_n; i++) {
        const struct infer_tensor *t = &v->tensors[i];
        AUTO(buf_fini) struct buf data = {0};
        bool rows = t->shape_n && t->shape[0] == (int64_t)total;
        size_t at = tensor_begin(t, rows ? n : t->shape_n ? (uint64_t)t->shape[0] : 0, ret), contents;
        struct bytes part;

        if (infer_tensor_raw(t, &data, e)) {
            ret->n = start;
            return e->rc;
        }
        part = buf_view(&data);
        if (rows) {
            size_t begin = row_at(t, part, from, total);

            part = (struct bytes){part.p ? part.p + begin : part.p, row_at(t, part, from + n, total) - begin};
        }
        contents = raw ? 0 : pb_begin(ret, 5);
        if (raw) pb_put_bytes(&raws, infer_raw_field(v->kind), part);
        else infer_put_contents(ret, t->type, part);
        if (!raw) pb_end(ret, contents);
        pb_end(ret, at);
    }
    buf_append(ret, buf_view(&raws));
    return RC_OK;
}
