/* Requests put together and answers taken apart, with tensors of every type. SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"
#include "oip/pb.h"
#include "oip/rows.h"
#include "test.h"

static const char *const types[] = {"BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16",
                                    "INT32", "INT64", "FP16", "FP32", "FP64", "BF16", "BYTES"};

struct message { struct buf b; struct arena a; struct infer_view v; struct buf data[3]; };

static void tensor_put(struct message *m, struct rng *g, size_t i, const char *type, uint64_t rows, uint64_t inner, bool raw,
                       struct buf *raws)
{
    enum datatype t = datatype_of(str_of(type));
    size_t at = pb_begin(&m->b, 5), in;
    char name[2] = {(char)('A' + i), 0};

    for (uint64_t k = 0; k < rows * inner; k++) {
        if (t == DT_BYTES) {
            uint32_t n = (uint32_t)rng_below(g, 4);

            store_le32(buf_grow(&m->data[i], 4), n);
            for (uint32_t c = 0; c < n; c++)
                *buf_grow(&m->data[i], 1) = (uint8_t)('a' + rng_below(g, 26));
        } else {
            uint8_t *p = buf_grow(&m->data[i], datatype_width(t));

            memset(p, 0, datatype_width(t));
            p[0] = (uint8_t)rng_below(g, 2);
        }
    }
    pb_put_str(&m->b, 1, str_of(name));
    pb_put_str(&m->b, 2, str_of(type));
    in = pb_begin(&m->b, 3);
    pb_put_varint(&m->b, rows);
    pb_put_varint(&m->b, inner);
    pb_end(&m->b, in);
    if (raw) {
        pb_put_bytes(raws, 7, buf_view(&m->data[i]));
    } else {
        in = pb_begin(&m->b, 5);
        infer_put_contents(&m->b, t, buf_view(&m->data[i]));
        pb_end(&m->b, in);
    }
    pb_end(&m->b, at);
}

static void message_make(struct message *m, struct rng *g, const char *const type[3], uint64_t rows, bool raw)
{
    AUTO(buf_fini) struct buf raws = {0};
    struct err e;

    *m = (struct message){0};
    for (size_t i = 0; i < 3; i++)
        tensor_put(m, g, i, type[i], rows, 1 + i, raw, &raws);
    buf_append(&m->b, buf_view(&raws));
    assert_int_equal(infer_parse(buf_view(&m->b), INFER_REQUEST, &m->a, &m->v, &e), RC_OK);
    assert_int_equal(infer_validate(&m->v, &e), RC_OK);
}

static void message_drop(struct message *m)
{
    for (size_t i = 0; i < 3; i++)
        buf_fini(&m->data[i]);
    buf_fini(&m->b);
    arena_fini(&m->a);
}

/* What a model answers that hands everything on. */
static void as_response(struct bytes request, struct arena *a, struct buf *ret, struct infer_view *v)
{
    struct infer_view in;
    struct err e;

    assert_int_equal(infer_parse(request, INFER_REQUEST, a, &in, &e), RC_OK);
    assert_int_equal(infer_validate(&in, &e), RC_OK);
    assert_int_equal(infer_build(&(struct infer_part){&in, NULL, 0, true}, 1, INFER_RESPONSE, NULL, ret, NULL, &e), RC_OK);
    assert_int_equal(infer_parse(buf_view(ret), INFER_RESPONSE, a, v, &e), RC_OK);
    assert_int_equal(infer_validate(v, &e), RC_OK);
}

static void trial(uint64_t seed)
{
    enum { MESSAGES = 4 };
    AUTO(buf_fini) struct buf joined = {0};
    AUTO(buf_fini) struct buf response = {0};
    AUTO(arena_fini) struct arena a = {0};
    struct message m[MESSAGES];
    const struct infer_view *views[MESSAGES];
    const char *type[3];
    struct infer_view v;
    uint64_t total = 0, from = 0, rows = 0;
    struct rng g;
    struct err e;

    rng_init(&g, seed);
    for (size_t i = 0; i < 3; i++)
        type[i] = types[rng_below(&g, countof(types))];
    for (size_t i = 0; i < MESSAGES; i++) {
        message_make(&m[i], &g, type, 1 + rng_below(&g, 5), rng_below(&g, 3) == 0);
        views[i] = &m[i].v;
        assert_true(infer_rows(&m[i].v, &rows));
        assert_true(infer_rows_fit(&m[0].v, &m[i].v));
        total += rows;
    }
    assert_int_equal(infer_rows_join(views, MESSAGES, &joined, &e), RC_OK);
    as_response(buf_view(&joined), &a, &response, &v);
    for (size_t i = 0; i < MESSAGES; i++) {
        AUTO(buf_fini) struct buf own = {0};
        struct infer_view w;

        infer_rows(&m[i].v, &rows);
        assert_int_equal(infer_rows_take(&v, from, rows, total, STR("me"), &own, &e), RC_OK);
        from += rows;
        assert_int_equal(infer_parse(buf_view(&own), INFER_RESPONSE, &a, &w, &e), RC_OK);
        assert_int_equal(infer_validate(&w, &e), RC_OK);
        assert_str(w.id, "me");
        for (size_t t = 0; t < 3; t++) {
            AUTO(buf_fini) struct buf raw = {0};

            assert_int_equal(infer_tensor_raw(&w.tensors[t], &raw, &e), RC_OK);
            assert_true(bytes_eq(buf_view(&raw), buf_view(&m[i].data[t])));
            assert_int_equal(w.tensors[t].shape[0], rows);
        }
    }
    for (size_t i = 0; i < MESSAGES; i++)
        message_drop(&m[i]);
}

static void every_caller_gets_its_own_rows_back(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 500; seed++)
        trial(seed);
}

static void what_differs_does_not_go_together(void **state)
{
    const char *const a[] = {"FP32", "INT32", "BYTES"}, *const b[] = {"FP32", "INT64", "BYTES"};
    struct message x, y;
    struct rng g;

    (void)state;
    rng_init(&g, 1);
    message_make(&x, &g, a, 2, false);
    message_make(&y, &g, b, 2, false);
    assert_false(infer_rows_fit(&x.v, &y.v));
    message_drop(&y);
    message_make(&y, &g, a, 3, true);
    assert_true(infer_rows_fit(&x.v, &y.v));
    y.v.tensors_n = 2;
    assert_false(infer_rows_fit(&x.v, &y.v));
    ((int64_t *)x.v.tensors[1].shape)[0] = 7;
    assert_false(infer_rows(&x.v, &(uint64_t){0}));
    message_drop(&x);
    message_drop(&y);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_caller_gets_its_own_rows_back),
        cmocka_unit_test(what_differs_does_not_go_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
