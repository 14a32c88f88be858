/* Random inference messages of every datatype, typed, raw and mixed. A message that went through
 * JSON and back, or was spliced, holds the same tensors as the model it was made from. A failure
 * prints its seed: run the test with it.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "../unit/oip/oip_help.h"
#include "base/rng.h"
#include "oip/json.h"
#include "oip/number.h"
#include <math.h>
#include <stdio.h>

enum { SEEDS = 20000, TENSORS_MAX = 6 };

/* The ten-line model: what a tensor is. */
struct model_tensor {
    struct str name;
    enum datatype type;
    int64_t shape[3];
    size_t shape_n, count;
    struct bytes raw;
    bool typed, base64;
};
struct model_message {
    struct str id;
    size_t n;
    struct model_tensor t[TENSORS_MAX];
};

static uint64_t first_seed = 1, last_seed = SEEDS, seed_now;

static struct str random_text(struct rng *r, struct arena *a, size_t max)
{
    static const char *const pieces[] = {"a",  "B",  "0",  "_",    "\xc3\xa9", "\xf0\x9f\x98\x80",
                                         "\"", "\\", "\n", "\x01", "{",        ","};
    struct buf b = {0};
    struct str s;

    for (size_t n = rng_below(r, max + 1); n; n--)
        buf_append_str(&b, str_of(pieces[rng_below(r, countof(pieces))]));
    s = arena_dup_str(a, buf_str(&b));
    buf_fini(&b);
    return s;
}

/* Halves and floats without NaN, whose payload JSON does not carry. */
static void random_element(struct rng *r, enum datatype type, struct buf *raw)
{
    uint8_t bytes[8];
    size_t width = datatype_width(type);
    bool nan;

    do {
        rng_bytes(r, bytes, sizeof bytes);
        if (type == DT_BOOL) bytes[0] &= 1;
        nan = (type == DT_FP16 && (load_le16(bytes) & 0x7fff) > 0x7c00) ||
              (type == DT_BF16 && (load_le16(bytes) & 0x7fff) > 0x7f80) ||
              (type == DT_FP32 && (load_le32(bytes) & 0x7fffffff) > 0x7f800000) ||
              (type == DT_FP64 && (load_le64(bytes) & INT64_MAX) > 0x7ff0000000000000);
    } while (nan);
    buf_append(raw, bytes_of(bytes, width));
}

static void random_tensor(struct rng *r, struct arena *a, struct model_tensor *t)
{
    struct buf raw = {0};
    struct str text = random_text(r, a, 3);

    *t = (struct model_tensor){
        .type = (enum datatype)(1 + rng_below(r, DT_BYTES)), .typed = rng_below(r, 2), .count = 1};
    t->name = arena_printf(a, "t%u" STR_FMT, (unsigned)rng_below(r, 4), STR_ARG(text));
    t->shape_n = rng_below(r, 4);
    for (size_t i = 0; i < t->shape_n; i++) {
        t->shape[i] = (int64_t)rng_below(r, 5);
        t->count *= (size_t)t->shape[i];
    }
    t->base64 = t->type == DT_BYTES && rng_below(r, 2);
    for (size_t i = 0; i < t->count; i++) {
        if (t->type != DT_BYTES) {
            random_element(r, t->type, &raw);
            continue;
        }
        struct bytes one = str_bytes(random_text(r, a, 5));

        if (t->base64 && one.n) rng_bytes(r, (uint8_t *)one.p, one.n);
        store_le32(buf_grow(&raw, 4), (uint32_t)one.n);
        buf_append(&raw, one);
    }
    t->raw = arena_dup(a, buf_view(&raw));
    buf_fini(&raw);
}

static void random_message(struct rng *r, struct arena *a, struct model_message *m)
{
    bool mixed = rng_below(r, 2), typed = rng_below(r, 2);

    *m = (struct model_message){.id = random_text(r, a, 3), .n = rng_below(r, TENSORS_MAX + 1)};
    for (size_t i = 0; i < m->n; i++) {
        random_tensor(r, a, &m->t[i]);
        if (!mixed) m->t[i].typed = typed;
        if (!m->t[i].count && mixed)
            m->t[i].typed = true; /* nobody can tell whose an empty raw is */
    }
}

/* Protobuf written the plain way. */
static struct bytes write_message(struct arena *a, const struct model_message *m,
                                  enum infer_kind kind)
{
    const struct infer_param base64 = {.kind = INFER_PARAM_STR, .s = STR("base64")};
    struct buf b = {0}, contents = {0};
    struct bytes out;

    pb_put_str(&b, 3, m->id);
    for (size_t i = 0; i < m->n; i++) {
        const struct model_tensor *t = &m->t[i];
        size_t at = pb_begin(&b, 5), in;

        pb_put_str(&b, 1, t->name);
        pb_put_str(&b, 2, datatype_name(t->type));
        for (size_t k = 0; k < t->shape_n; k++) { /* not packed: parsers must take this too */
            pb_put_tag(&b, 3, PB_VARINT);
            pb_put_varint(&b, (uint64_t)t->shape[k]);
        }
        if (t->base64) infer_put_param(&b, 4, STR("content_type"), &base64);
        if (t->typed) {
            buf_clear(&contents);
            infer_put_contents(&contents, t->type, t->raw);
            in = pb_begin(&b, 5);
            buf_append(&b, buf_view(&contents));
            pb_end(&b, in);
        }
        pb_end(&b, at);
    }
    for (size_t i = 0; i < m->n; i++)
        if (!m->t[i].typed) pb_put_bytes(&b, kind == INFER_REQUEST ? 7 : 6, m->t[i].raw);
    out = arena_dup(a, buf_view(&b));
    buf_fini(&b);
    buf_fini(&contents);
    return out;
}

static void check_tensor(struct arena *a, const struct infer_tensor *t,
                         const struct model_tensor *want, struct str name)
{
    struct buf raw = {0};
    struct err e = {0};

    assert_true(str_eq(t->name, name));
    assert_int_equal(t->type, want->type);
    assert_int_equal(t->shape_n, want->shape_n);
    for (size_t i = 0; i < t->shape_n; i++)
        assert_int_equal(t->shape[i], want->shape[i]);
    assert_int_equal(infer_param_is(t->params, "content_type", "base64"), want->base64);
    if (infer_tensor_raw(t, &raw, &e)) fail_msg("%s", e.text);
    assert_string_equal(to_hex(a, buf_view(&raw)), to_hex(a, want->raw));
    buf_fini(&raw);
}

static void check_message(struct arena *a, const struct infer_view *v,
                          const struct model_message *want)
{
    struct err e = {0};

    if (infer_validate(v, &e)) fail_msg("%s", e.text);
    assert_true(str_eq(v->id, want->id));
    assert_int_equal(v->tensors_n, want->n);
    for (size_t i = 0; i < want->n; i++)
        check_tensor(a, &v->tensors[i], &want->t[i], want->t[i].name);
}

static void through_json(struct rng *r, struct arena *a)
{
    struct model_message m;
    enum infer_kind kind = rng_below(r, 2) ? INFER_REQUEST : INFER_RESPONSE;
    const struct json_want list[] = {{STR("t1"), true, false}, {STR("t2"), false, true}};
    struct json_wants wants = {.binary = rng_below(r, 2), .list = list, .n = rng_below(r, 3)};
    struct json_style style = {.bytes_as_text = true, .wants = rng_below(r, 2) ? &wants : NULL};
    struct buf json = {0}, proto = {0};
    struct infer_view v;
    struct err e = {0};
    size_t n;

    random_message(r, a, &m);
    v = view_of(a, kind, write_message(a, &m, kind));
    check_message(a, &v, &m);
    if (infer_encode_json(&v, &style, &json, &n, &e)) fail_msg("%s", e.text);
    if (infer_decode_json(buf_view(&json), n, kind, a, &proto, NULL, &e))
        fail_msg("%s in %.*s", e.text, (int)n, (char *)json.p);
    v = view_of(a, kind, buf_view(&proto));
    check_message(a, &v, &m);
    buf_fini(&json);
    buf_fini(&proto);
}

/* The plain reading of a selection: a list of (tensor, new name). */
static size_t naive_selection(const struct model_message *m, const struct infer_part *p,
                              const struct model_tensor **to, struct str *names)
{
    size_t n = 0;

    for (size_t i = 0; i < m->n; i++) {
        bool listed = false;

        names[n] = m->t[i].name;
        for (size_t k = p->select_n; k-- > 0;) {
            if (!str_eq(p->select[k].tensor, m->t[i].name)) continue;
            listed = true;
            names[n] = p->select[k].rename.n ? p->select[k].rename : m->t[i].name;
        }
        if (listed || p->all) to[n++] = &m->t[i];
    }
    return n;
}

static void spliced(struct rng *r, struct arena *a)
{
    struct model_message m[3];
    struct infer_view from[3], v;
    struct infer_select select[3][3];
    struct infer_part parts[3];
    const struct model_tensor *want[3 * TENSORS_MAX];
    struct str names[3 * TENSORS_MAX + 1], model = STR("m");
    const struct infer_names set = {.model_name = &model};
    enum infer_kind to = rng_below(r, 2) ? INFER_REQUEST : INFER_RESPONSE;
    struct buf out = {0};
    struct err e = {0};
    size_t n = 0, taken, parts_n = 1 + rng_below(r, 3);

    for (size_t k = 0; k < parts_n; k++) {
        enum infer_kind kind = rng_below(r, 2) ? INFER_REQUEST : INFER_RESPONSE;

        random_message(r, a, &m[k]);
        from[k] = view_of(a, kind, write_message(a, &m[k], kind));
        parts[k] = (struct infer_part){.view = &from[k],
                                       .select = select[k],
                                       .select_n = rng_below(r, 4),
                                       .all = rng_below(r, 2)};
        for (size_t i = 0; i < parts[k].select_n; i++)
            select[k][i] = (struct infer_select){
                m[k].n ? m[k].t[rng_below(r, m[k].n)].name : STR("x"), random_text(r, a, 2)};
        n += naive_selection(&m[k], &parts[k], want + n, names + n);
    }
    if (infer_build(parts, parts_n, to, &set, &out, &taken, &e)) fail_msg("%s", e.text);
    v = view_of(a, to, buf_view(&out));
    if (infer_validate(&v, &e)) fail_msg("%s", e.text);
    assert_int_equal(taken, n);
    assert_int_equal(v.tensors_n, n);
    assert_true(str_eq(v.id, m[0].id));
    assert_str(v.model_name, "m");
    for (size_t i = 0; i < n; i++)
        check_tensor(a, &v.tensors[i], want[i], names[i]);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(v.tensors[i].has_raw, v.tensors[0].has_raw);
    buf_fini(&out);
}

/* The text reads back as the value, here and by strtod; any text reads as strtod reads it. */
static void floats_and_text(struct rng *r, struct arena *a)
{
    uint64_t bits = rng_u64(r);
    uint32_t small = (uint32_t)bits;
    struct decimal d;
    struct str text;
    char shortest[40];
    double v, back;
    float f, fback;

    memcpy(&v, &bits, sizeof v);
    memcpy(&f, &small, sizeof f);
    if (isfinite(v)) {
        shortest[fp64_text(v, shortest)] = 0;
        assert_ptr_equal(decimal_read(shortest, shortest + strlen(shortest), &d),
                         shortest + strlen(shortest));
        back = decimal_fp64(&d);
        assert_memory_equal(&back, &v, sizeof v);
        back = strtod(shortest, NULL);
        assert_memory_equal(&back, &v, sizeof v);
    }
    if (isfinite(f)) {
        shortest[fp32_text(f, shortest)] = 0;
        decimal_read(shortest, shortest + strlen(shortest), &d);
        fback = decimal_fp32(&d);
        assert_memory_equal(&fback, &f, sizeof f);
    }
    text = arena_printf(a, "%llu.%0*llu%llue%d", (unsigned long long)(bits >> rng_below(r, 64)),
                        (int)rng_below(r, 30), (unsigned long long)(rng_u64(r) >> rng_below(r, 64)),
                        (unsigned long long)rng_u64(r), (int)rng_below(r, 700) - 350);
    decimal_read(text.p, text.p + text.n, &d);
    v = decimal_fp64(&d);
    back = strtod(text.p, NULL);
    if (memcmp(&v, &back, sizeof v)) fail_msg("%s", text.p);
    f = decimal_fp32(&d);
    fback = strtof(text.p, NULL);
    if (memcmp(&f, &fback, sizeof f)) fail_msg("%s", text.p);
}

static void each_seed(void (*property)(struct rng *, struct arena *))
{
    for (seed_now = first_seed; seed_now <= last_seed; seed_now++) {
        struct arena a = {0};
        struct rng r;

        rng_init(&r, seed_now);
        property(&r, &a);
        arena_fini(&a);
    }
}

static void messages_survive_the_way_through_json(void **state)
{
    (void)state;
    each_seed(through_json);
}

static void splicing_equals_the_plain_way(void **state)
{
    (void)state;
    each_seed(spliced);
}

static void floats_survive_the_way_through_text(void **state)
{
    (void)state;
    each_seed(floats_and_text);
}

/* After a failure cmocka jumps out of the test: say which seed it was. */
static int say_seed(void **state)
{
    (void)state;
    if (seed_now <= last_seed) fprintf(stderr, "seed %llu\n", (unsigned long long)seed_now);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(messages_survive_the_way_through_json, say_seed),
        cmocka_unit_test_teardown(splicing_equals_the_plain_way, say_seed),
        cmocka_unit_test_teardown(floats_survive_the_way_through_text, say_seed),
    };

    if (argc > 1) first_seed = last_seed = strtoull(argv[1], NULL, 10);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
