/* SPDX-License-Identifier: Apache-2.0 */
#include "oip_help.h"

#define TYPED_FP32 "2a250a05494e5055541204465033321a0201042a1232100000803f000000400000404000008040"
#define RAW_FP32   "2a110a05494e5055541204465033321a0201043a100000803f000000400000404000008040"

static void a_typed_request_is_seen_without_copying(void **state)
{
    struct arena a = {0};
    struct bytes msg = hex(&a, TYPED_FP32);
    struct infer_view v = view_of(&a, INFER_REQUEST, msg);
    struct err e;

    (void)state;
    assert_int_equal(v.tensors_n, 1);
    assert_str(v.tensors[0].name, "INPUT");
    assert_int_equal(v.tensors[0].type, DT_FP32);
    assert_int_equal(v.tensors[0].shape_n, 2);
    assert_int_equal(v.tensors[0].shape[1], 4);
    assert_true(v.tensors[0].contents.p > msg.p && v.tensors[0].contents.p < msg.p + msg.n);
    assert_int_equal(infer_validate(&v, &e), RC_OK);
    arena_fini(&a);
}

static void parameters_of_every_kind_are_found(void **state)
{
    struct arena a = {0};
    struct buf b = {0};
    struct infer_param p = {.kind = INFER_PARAM_INT, .i = -7};
    struct infer_view v;

    (void)state;
    infer_put_param(&b, 4, STR("i"), &p);
    p = (struct infer_param){.kind = INFER_PARAM_STR, .s = STR("")};
    infer_put_param(&b, 4, STR("s"), &p);
    p = (struct infer_param){.kind = INFER_PARAM_BOOL, .b = false};
    infer_put_param(&b, 4, STR("b"), &p);
    p = (struct infer_param){.kind = INFER_PARAM_DOUBLE, .d = 0.5};
    infer_put_param(&b, 4, STR("d"), &p);
    p = (struct infer_param){.kind = INFER_PARAM_BOOL, .b = true};
    infer_put_param(&b, 4, STR("b"), &p);
    v = view_of(&a, INFER_RESPONSE, buf_view(&b));
    assert_int_equal(v.params.n, 5);
    assert_true(infer_param_find(v.params, STR("i"), &p) && p.i == -7);
    assert_true(infer_param_is(v.params, "s", ""));
    assert_true(infer_param_find(v.params, STR("d"), &p) && p.d == 0.5);
    assert_true(infer_param_find(v.params, STR("b"), &p) && p.kind == INFER_PARAM_BOOL && p.b);
    assert_false(infer_param_find(v.params, STR("x"), &p));
    buf_fini(&b);
    arena_fini(&a);
}

static void a_response_becomes_the_next_request(void **state)
{
    struct arena a = {0};
    struct infer_view v = view_of(&a, INFER_RESPONSE,
                                  hex(&a, "0a057261775f311201311a056d792d696422080a017312031a01742a"
                                          "1a0a05494e5055541204465033321a02010422070a016b"
                                          "1202100132100000803f000000400000404000008040"));
    struct infer_part part = {.view = &v, .all = true};
    struct buf b = {0};
    struct err e;
    size_t n;

    (void)state;
    assert_int_equal(infer_build(&part, 1, INFER_REQUEST, NULL, &b, &n, &e), RC_OK);
    assert_int_equal(n, 1);
    assert_string_equal(
        to_hex(&a, buf_view(&b)),
        "1a056d792d696422080a017312031a01742a1a0a05494e5055541204465033321a02010422070a016b"
        "120210013a100000803f000000400000404000008040");
    buf_fini(&b);
    arena_fini(&a);
}

static void a_selection_takes_and_renames(void **state)
{
    struct arena a = {0};
    struct infer_view v = request_of(&a, "2a170a0643484f4943451205494e5433321a01012a031201002a260a0"
                                         "6494e505554301204465033321a0201042a1232"
                                         "100000803f000000400000404000008040");
    const struct infer_select want[] = {{STR("INPUT0"), STR("a longer name")},
                                        {STR("absent"), {0}}};
    struct infer_part part = {.view = &v, .select = want, .select_n = 2};
    struct str name = STR("m"), version = STR("1");
    struct infer_names names = {.model_name = &name, .model_version = &version};
    struct infer_view w;
    struct buf b = {0};
    struct err e;
    size_t n;

    (void)state;
    assert_int_equal(infer_build(&part, 1, INFER_REQUEST, &names, &b, &n, &e), RC_OK);
    assert_int_equal(n, 1);
    w = view_of(&a, INFER_REQUEST, buf_view(&b));
    assert_int_equal(w.tensors_n, 1);
    assert_str(w.model_name, "m");
    assert_str(w.tensors[0].name, "a longer name");
    assert_int_equal(infer_validate(&w, &e), RC_OK);
    assert_true(bytes_eq(w.tensors[0].contents, v.tensors[1].contents));
    buf_clear(&b);
    part.all = true;
    assert_int_equal(infer_build(&part, 1, INFER_REQUEST, &names, &b, &n, &e), RC_OK);
    assert_int_equal(n, 2);
    buf_clear(&b);
    part = (struct infer_part){.view = &v, .select = &want[1], .select_n = 1};
    assert_int_equal(infer_build(&part, 1, INFER_REQUEST, NULL, &b, &n, &e), RC_OK);
    assert_int_equal(n, 0);
    buf_fini(&b);
    arena_fini(&a);
}

static void a_join_of_typed_and_raw_becomes_raw(void **state)
{
    struct arena a = {0};
    struct infer_view left = request_of(&a, "1a026964" TYPED_FP32),
                      right = request_of(&a, "1a017a" RAW_FP32), w;
    struct infer_part parts[] = {{.view = &left, .all = true}, {.view = &right, .all = true}};
    struct buf b = {0};
    struct err e;

    (void)state;
    assert_int_equal(infer_build(parts, 2, INFER_RESPONSE, NULL, &b, NULL, &e), RC_OK);
    w = view_of(&a, INFER_RESPONSE, buf_view(&b));
    assert_str(w.id, "id");
    assert_int_equal(w.tensors_n, 2);
    assert_int_equal(w.raws_n, 2);
    assert_true(bytes_eq(w.raws[0], w.raws[1]));
    assert_false(w.tensors[0].has_contents);
    assert_int_equal(infer_validate(&w, &e), RC_OK);
    buf_fini(&b);
    arena_fini(&a);
}

/* A typed, B raw, C typed without elements, D raw: two raw contents for four tensors. */
static void raw_contents_go_to_the_tensors_that_lack_typed_ones(void **state)
{
    struct arena a = {0};
    struct buf b = {0}, contents = {0}, out = {0};
    int64_t two = 2, zero = 0;
    struct infer_view v, w;
    struct infer_part part = {.view = &v, .all = true};
    struct err e;

    (void)state;
    pb_put_bytes(&contents, 2, bytes_of("\1\2", 2));
    put_tensor_field(&b, "A", "INT8", &two, 1, &contents);
    put_tensor_field(&b, "B", "INT16", &two, 1, NULL);
    put_tensor_field(&b, "C", "FP32", &zero, 1, NULL);
    put_tensor_field(&b, "D", "UINT8", &two, 1, NULL);
    pb_put_bytes(&b, 7, bytes_of("\3\0\4\0", 4));
    pb_put_bytes(&b, 7, bytes_of("\5\6", 2));
    v = view_of(&a, INFER_REQUEST, buf_view(&b));
    assert_int_equal(infer_validate(&v, &e), RC_OK);
    assert_int_equal(v.tensors[1].raw.n, 4);
    assert_false(v.tensors[2].has_raw);
    assert_int_equal(v.tensors[3].raw.p[1], 6);
    assert_int_equal(infer_build(&part, 1, INFER_REQUEST, NULL, &out, NULL, &e), RC_OK);
    w = view_of(&a, INFER_REQUEST, buf_view(&out));
    assert_int_equal(w.raws_n, 4);
    assert_true(bytes_eq(w.raws[0], bytes_of("\1\2", 2)));
    assert_int_equal(w.raws[2].n, 0);
    assert_int_equal(infer_validate(&w, &e), RC_OK);
    buf_fini(&b);
    buf_fini(&contents);
    buf_fini(&out);
    arena_fini(&a);
}

static void check_refused(enum infer_kind kind, const char *message, const char *want)
{
    struct arena a = {0};
    struct infer_view v;
    struct err e = {0};
    enum rc rc = infer_parse(hex(&a, message), kind, &a, &v, &e);

    if (!rc) rc = infer_validate(&v, &e);
    assert_int_equal(rc, RC_INVALID);
    assert_string_equal(e.text, want);
    arena_fini(&a);
}

static void what_does_not_fit_is_named(void **state)
{
    (void)state;
    check_refused(INFER_REQUEST,
                  "2a0c0a01411204465033321a01042a0c0a01421204465033321a01043a100000803f000000400000"
                  "404000008040",
                  "inputs[1]: tensor \"B\": the shape wants 4 elements, there are 0");
    check_refused(INFER_REQUEST, "2a0c0a01411204465033321a01043a020000",
                  "inputs[0]: tensor \"A\": 4 elements of FP32 take 16 bytes, there are 2");
    check_refused(INFER_REQUEST, "2a100a01411204465033321a01042a023200",
                  "inputs[0]: tensor \"A\": the shape wants 4 elements, there are 0");
    check_refused(INFER_REQUEST, "2a110a01411204465033321a01012a03120101",
                  "inputs[0]: tensor \"A\": FP32 wants fp32_contents, there is int_contents");
    check_refused(INFER_REQUEST, "2a0c0a01411204465039321a0104",
                  "inputs[0]: tensor \"A\": unknown datatype \"FP92\"");
    check_refused(INFER_REQUEST, "2a150a01411204465033321a0affffffffffffffffff01",
                  "inputs[0]: tensor \"A\": shape[0] is -1");
    check_refused(INFER_RESPONSE, "2a120a064f5554505554120542595445531a010232050900000061",
                  "outputs[0]: tensor \"OUTPUT\": element 0 claims 9 bytes, 1 are left");
    check_refused(INFER_REQUEST, "3a0100", "1 raw contents for 0 tensors");
    check_refused(INFER_REQUEST, "ffffff",
                  "ModelInferRequest: cut off inside a varint (at 3 of 3)");
    check_refused(INFER_REQUEST, "2a100a05494e50555412",
                  "ModelInferRequest: a length reaches beyond the end (at 2 of 10)");
    check_refused(INFER_REQUEST, "2801",
                  "ModelInferRequest: a known field has another wire type (at 2 of 2)");
    /* A response is not a request: its raw contents are no requested output. */
    check_refused(
        INFER_REQUEST, "2a100a05494e5055541204465033321a010432100000803f000000400000404000008040",
        "ModelInferRequest: outputs[0]: requested output: field number out of range (at 1 of 16)");
}

static void check_raw(const char *datatype, uint32_t field, struct bytes packed, const char *want)
{
    struct arena a = {0};
    struct buf b = {0}, contents = {0}, raw = {0}, again = {0};
    int64_t two = 2;
    struct infer_view v;
    struct err e;

    pb_put_bytes(&contents, field, packed);
    put_tensor_field(&b, "X", datatype, &two, 1, &contents);
    v = view_of(&a, INFER_REQUEST, buf_view(&b));
    assert_int_equal(infer_tensor_raw(&v.tensors[0], &raw, &e), RC_OK);
    assert_string_equal(to_hex(&a, buf_view(&raw)), want);
    infer_put_contents(&again, v.tensors[0].type, buf_view(&raw));
    assert_string_equal(to_hex(&a, buf_view(&again)), to_hex(&a, buf_view(&contents)));
    buf_fini(&b);
    buf_fini(&contents);
    buf_fini(&raw);
    buf_fini(&again);
    arena_fini(&a);
}

static void typed_contents_and_raw_contents_say_the_same(void **state)
{
    (void)state;
    check_raw("BOOL", 1, bytes_of("\1\0", 2), "0100");
    check_raw("UINT8", 4, bytes_of("\1\xff\1", 3), "01ff");
    check_raw("UINT16", 4, bytes_of("\1\xff\xff\3", 4), "0100ffff");
    check_raw("UINT32", 4, bytes_of("\1\xff\xff\xff\xff\x0f", 6), "01000000ffffffff");
    check_raw("INT8", 2, bytes_of("\xff\xff\xff\xff\xff\xff\xff\xff\xff\1\x7f", 11), "ff7f");
    check_raw("INT16", 2, bytes_of("\xff\xff\xff\xff\xff\xff\xff\xff\xff\1\xac\2", 12), "ffff2c01");
    check_raw("INT64", 3, bytes_of("\xff\xff\xff\xff\xff\xff\xff\xff\xff\1\1", 11),
              "ffffffffffffffff0100000000000000");
    check_raw("FP16", 6, bytes_of("\0\0\0\x3f\0\0\0\xc0", 8), "003800c0");
    check_raw("BF16", 6, bytes_of("\0\0\0\x3f\0\0\0\xc0", 8), "003f00c0");
    check_raw("FP32", 6, bytes_of("\0\0\0\x3f\0\0\0\xc0", 8), "0000003f000000c0");
}

static void a_typed_value_out_of_range_is_not_truncated(void **state)
{
    struct arena a = {0};
    struct buf b = {0}, contents = {0}, raw = {0};
    int64_t one = 1;
    struct infer_view v;
    struct err e;

    (void)state;
    pb_put_bytes(&contents, 2, bytes_of("\xac\2", 2));
    put_tensor_field(&b, "X", "INT8", &one, 1, &contents);
    v = view_of(&a, INFER_REQUEST, buf_view(&b));
    assert_int_equal(infer_tensor_raw(&v.tensors[0], &raw, &e), RC_INVALID);
    assert_string_equal(e.text, "tensor \"X\": element 0 is out of range for INT8");
    assert_int_equal(raw.n, 0);
    buf_fini(&b);
    buf_fini(&contents);
    buf_fini(&raw);
    arena_fini(&a);
}

static void names_are_replaced_and_the_rest_stays(void **state)
{
    struct arena a = {0};
    struct infer_view v =
        request_of(&a, "0a036f6c641201391a02696422080a017312031a0174" RAW_FP32 "f80601");
    struct str name = STR("echo"), version = {0};
    struct infer_names names = {.model_name = &name, .model_version = &version};
    struct buf b = {0};

    (void)state;
    infer_rename(&v, &names, &b);
    assert_string_equal(to_hex(&a, buf_view(&b)),
                        "0a046563686f1a02696422080a017312031a0174" RAW_FP32 "f80601");
    buf_fini(&b);
    arena_fini(&a);
}

static void halves_in_typed_contents_can_be_sent_raw(void **state)
{
    struct arena a = {0};
    struct infer_view v = request_of(
                          &a,
                          "2a180a01581204465031361a01022a0a32080000003f000000c032070a05494e505554"),
                      w;
    struct buf b = {0};
    struct err e;

    (void)state;
    assert_true(infer_wants_raw(&v));
    assert_int_equal(infer_rename_raw(&v, NULL, &b, &e), RC_OK);
    w = view_of(&a, INFER_REQUEST, buf_view(&b));
    assert_false(infer_wants_raw(&w));
    assert_int_equal(w.requested_n, 1);
    assert_true(bytes_eq(w.tensors[0].raw, hex(&a, "003800c0")));
    assert_int_equal(infer_validate(&w, &e), RC_OK);
    buf_fini(&b);
    arena_fini(&a);
}

static void a_message_above_the_arena_limit_is_refused(void **state)
{
    struct arena a, big = {0};
    struct buf b = {0};
    struct infer_view v;
    struct err e;

    (void)state;
    arena_init(&a, 4096);
    for (int i = 0; i < 100; i++)
        put_tensor_field(&b, "X", "FP32", NULL, 0, NULL);
    assert_int_equal(infer_parse(buf_view(&b), INFER_REQUEST, &a, &v, &e), RC_TOO_LARGE);
    assert_int_equal(infer_parse(buf_view(&b), INFER_REQUEST, &big, &v, &e), RC_OK);
    buf_clear(&b);
    for (int i = 0; i <= INFER_TENSORS_MAX; i++)
        pb_put_bytes(&b, 5, (struct bytes){0});
    assert_int_equal(infer_parse(buf_view(&b), INFER_REQUEST, &big, &v, &e), RC_INVALID);
    assert_string_equal(e.text, "ModelInferRequest: 4097 tensors, at most 4096 are accepted");
    buf_fini(&b);
    arena_fini(&a);
    arena_fini(&big);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_typed_request_is_seen_without_copying),
        cmocka_unit_test(parameters_of_every_kind_are_found),
        cmocka_unit_test(a_response_becomes_the_next_request),
        cmocka_unit_test(a_selection_takes_and_renames),
        cmocka_unit_test(a_join_of_typed_and_raw_becomes_raw),
        cmocka_unit_test(raw_contents_go_to_the_tensors_that_lack_typed_ones),
        cmocka_unit_test(what_does_not_fit_is_named),
        cmocka_unit_test(typed_contents_and_raw_contents_say_the_same),
        cmocka_unit_test(a_typed_value_out_of_range_is_not_truncated),
        cmocka_unit_test(names_are_replaced_and_the_rest_stays),
        cmocka_unit_test(halves_in_typed_contents_can_be_sent_raw),
        cmocka_unit_test(a_message_above_the_arena_limit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
