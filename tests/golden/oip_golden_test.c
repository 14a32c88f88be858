/* What the system we replace read and wrote (oip.tsv, made by oip_rows.py), against our codecs: the
 * same bytes, except where `better` says what we do instead.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "../unit/oip/oip_help.h"
#include "oip/json.h"
#include <stdio.h>

struct row {
    struct str kind, label, a, b;
};

static const char *folder;

/* REST bodies for which our message is meant to differ: fields in front of theirs, or all of it.
 * Neither: we refuse. */
static const struct {
    const char *label, *front, *all;
} better[] = {
    /* integers above 2^53 are exact */
    {"types-rest/UINT64", NULL, "2a1b0a0158120655494e5436341a01022a0b2a09018180808080808010"},
    {"types-rest/INT64", NULL,
     "2a230a01581205494e5436341a01022a141a12ffffffffffffffffff018180808080808010"},
    /* too little data is not filled with zeros */
    {"types-rest/short-data", NULL, NULL},
    /* the id is kept */
    {"batch-size-3/first", "1a0469642d30", NULL},
    {"batch-size-3/second", "1a0469642d31", NULL},
    {"batch-size-3/third", "1a0469642d32", NULL},
    {"params-id-headers/rest-chain", "1a056d792d6964", NULL},
    /* … and 1.7 does not become 1 */
    {"params-id-headers/rest", NULL,
     "1a056d792d696422080a017312031a017422070a016e1202100322070a016212020801"
     "220a0a016612051a03312e37"
     "2a440a05494e5055541204465033321a02010422140a0c636f6e74656e745f7479706512041a026e7022070a016b1"
     "2021001"
     "2a1232100000803f00000040000040400000804032110a05494e50555412080a017812031a0179"},
};

static bool next_row(struct str *rest, struct row *ret)
{
    struct str line, *fields[] = {&ret->kind, &ret->label, &ret->a, &ret->b};

    if (!rest->n) return false;
    str_cut(*rest, '\n', &line, rest);
    for (size_t i = 0; i < countof(fields); i++)
        str_cut(line, '\t', fields[i], &line);
    return true;
}

static struct buf read_rows(void)
{
    struct buf path = {0}, b = {0};
    FILE *f;
    size_t n;

    buf_printf(&path, "%s/oip.tsv", folder);
    f = fopen(buf_cstr(&path), "rb");
    assert_non_null(f);
    do {
        buf_reserve(&b, 65536);
        n = fread(b.p + b.n, 1, 65536, f);
        b.n += n;
    } while (n);
    fclose(f);
    buf_fini(&path);
    return b;
}

/* A canonical form: JSON sorts parameters, whose order the original does not keep. */
static struct buf canonical(struct arena *a, enum infer_kind kind, struct bytes msg)
{
    struct infer_view v = view_of(a, kind, msg);
    struct buf b = {0};
    struct err e;

    if (infer_encode_json(&v, NULL, &b, NULL, &e)) fail_msg("%s", e.text);
    return b;
}

/* What we should make of the row's body; false: a refusal. */
static bool expected(struct arena *a, const struct row *r, struct bytes *ret)
{
    *ret = unhex(a, r->b);
    for (size_t i = 0; i < countof(better); i++) {
        if (!str_is(r->label, better[i].label)) continue;
        if (better[i].all)
            *ret = hex(a, better[i].all);
        else if (better[i].front)
            *ret = unhex(a, arena_printf(a, "%s" STR_FMT, better[i].front, STR_ARG(r->b)));
        else
            return false;
    }
    return true;
}

static void check_to_proto(struct arena *a, const struct row *r)
{
    struct buf ours = {0}, left, right;
    struct err e;
    struct bytes want;
    enum rc rc = infer_decode_json(str_bytes(r->a), r->a.n, INFER_REQUEST, a, &ours, NULL, &e);

    if (!expected(a, r, &want)) {
        assert_int_equal(rc, RC_INVALID);
        return;
    }
    if (rc) fail_msg(STR_FMT ": %s", STR_ARG(r->label), e.text);
    left = canonical(a, INFER_REQUEST, buf_view(&ours));
    right = canonical(a, INFER_REQUEST, want);
    assert_string_equal(buf_cstr(&left), buf_cstr(&right));
    if (!memmem(r->a.p, r->a.n, "parameters", 10))
        assert_string_equal(to_hex(a, buf_view(&ours)), to_hex(a, want));
    buf_fini(&ours);
    buf_fini(&left);
    buf_fini(&right);
}

/* Every answer is the original's, byte for byte: what reached the topics there had lost its
 * precision before. */
static void check_to_json(struct arena *a, const struct row *r)
{
    struct buf ours = canonical(a, INFER_RESPONSE, unhex(a, r->a));

    assert_string_equal(buf_cstr(&ours), arena_dup_str(a, r->b).p);
    buf_fini(&ours);
}

/* Any real message is valid, survives a rename byte for byte, and selecting everything keeps its
 * meaning. */
static void check_message(struct arena *a, const struct row *r, enum infer_kind kind)
{
    struct bytes msg = unhex(a, r->a);
    struct infer_view v = view_of(a, kind, msg);
    struct infer_part part = {.view = &v, .all = true};
    struct infer_names names = {.model_name = &v.model_name, .model_version = &v.model_version};
    struct buf same = {0}, built = {0}, left, right;
    struct err e;

    if ((kind == INFER_REQUEST && str_is(r->label, "status-shapes/grpc raw count mismatch")) ||
        (kind == INFER_RESPONSE && memmem(r->label.p, r->label.n, "rawbad", 6))) {
        assert_int_equal(infer_validate(&v, &e), RC_INVALID);
        return;
    }
    if (infer_validate(&v, &e)) fail_msg(STR_FMT ": %s", STR_ARG(r->label), e.text);
    infer_rename(&v, NULL, &same);
    assert_string_equal(to_hex(a, buf_view(&same)), to_hex(a, msg));
    v.requested_n = 0;
    if (infer_build(&part, 1, kind, &names, &built, NULL, &e)) fail_msg("%s", e.text);
    left = canonical(a, kind, buf_view(&built));
    right = (struct buf){0};
    if (infer_encode_json(&v, NULL, &right, NULL, &e)) fail_msg("%s", e.text);
    assert_string_equal(buf_cstr(&left), buf_cstr(&right));
    buf_fini(&same);
    buf_fini(&built);
    buf_fini(&left);
    buf_fini(&right);
}

/* The request that reached the model: the record with the model's name and version "1". */
static void check_call(struct arena *a, const struct row *r)
{
    struct str scenario, model, version = STR("1");
    struct infer_view v = view_of(a, INFER_REQUEST, unhex(a, r->a));
    struct infer_names names = {.model_name = &model, .model_version = &version};
    struct buf ours = {0}, left, right;

    str_cut(r->label, '/', &scenario, &model);
    infer_rename(&v, &names, &ours);
    left = canonical(a, INFER_REQUEST, buf_view(&ours));
    right = canonical(a, INFER_REQUEST, unhex(a, r->b));
    assert_string_equal(buf_cstr(&left), buf_cstr(&right));
    if (!v.params.n) assert_string_equal(to_hex(a, buf_view(&ours)), to_hex(a, unhex(a, r->b)));
    buf_fini(&ours);
    buf_fini(&left);
    buf_fini(&right);
}

static void check_refused(struct arena *a, const struct row *r)
{
    struct buf ours = {0};
    struct err e = {0};
    bool now_accepted = str_is(r->label, "status-shapes/rest unknown datatype") || /* BF16 */
                        str_is(r->label, "status-shapes/rest multi-dim BYTES");
    enum rc rc = infer_decode_json(str_bytes(r->a), r->a.n, INFER_REQUEST, a, &ours, NULL, &e);

    if (now_accepted != (rc == RC_OK)) fail_msg(STR_FMT ": %s", STR_ARG(r->label), e.text);
    buf_fini(&ours);
}

static void the_recordings_are_read_and_written_alike(void **state)
{
    struct buf rows = read_rows();
    struct str rest = buf_str(&rows);
    size_t n = 0;

    (void)state;
    for (struct row r; next_row(&rest, &r); n++) {
        struct arena a = {0};

        if (str_is(r.kind, "to_proto"))
            check_to_proto(&a, &r);
        else if (str_is(r.kind, "to_json"))
            check_to_json(&a, &r);
        else if (str_is(r.kind, "request"))
            check_message(&a, &r, INFER_REQUEST);
        else if (str_is(r.kind, "response"))
            check_message(&a, &r, INFER_RESPONSE);
        else if (str_is(r.kind, "call"))
            check_call(&a, &r);
        else if (str_is(r.kind, "refused"))
            check_refused(&a, &r);
        else
            fail_msg("unknown kind " STR_FMT, STR_ARG(r.kind));
        arena_fini(&a);
    }
    assert_true(n > 100);
    buf_fini(&rows);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_recordings_are_read_and_written_alike),
    };

    folder = argc > 1 ? argv[1] : ".";
    return cmocka_run_group_tests(tests, NULL, NULL);
}
