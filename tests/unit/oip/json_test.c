/* SPDX-License-Identifier: Apache-2.0 */
#include "oip/json.h"
#include "oip_help.h"
#include <math.h>
#include <stdio.h>

/* JSON to protobuf and back to JSON of the same kind. */
static void check_both_ways(enum infer_kind kind, const char *json, const char *want)
{
    struct arena a = {0};
    struct buf proto = {0}, back = {0};
    struct err e = {0};
    struct infer_view v;

    if (infer_decode_json(bytes_of(json, strlen(json)), strlen(json), kind, &a, &proto, NULL, &e))
        fail_msg("%s", e.text);
    v = view_of(&a, kind, buf_view(&proto));
    if (infer_validate(&v, &e)) fail_msg("%s", e.text);
    if (infer_encode_json(&v, NULL, &back, NULL, &e)) fail_msg("%s", e.text);
    assert_string_equal(buf_cstr(&back), want);
    buf_fini(&proto);
    buf_fini(&back);
    arena_fini(&a);
}

#define OUT(data, datatype, shape)                                                                 \
    "{\"model_name\":\"\",\"outputs\":[{\"data\":" data ",\"name\":\"X\",\"shape\":" shape         \
    ",\"datatype\":\"" datatype "\"}]}"

static void every_datatype_keeps_its_values(void **state)
{
    static const char *const same[] = {
        OUT("[true,false]", "BOOL", "[2]"),
        OUT("[0,255]", "UINT8", "[2]"),
        OUT("[0,65535]", "UINT16", "[2]"),
        OUT("[0,4294967295]", "UINT32", "[2]"),
        OUT("[9007199254740993,18446744073709551615]", "UINT64", "[2]"),
        OUT("[-128,127]", "INT8", "[2]"),
        OUT("[-32768,32767]", "INT16", "[2]"),
        OUT("[-2147483648,2147483647]", "INT32", "[2]"),
        OUT("[-9223372036854775808,9007199254740993,9223372036854775807]", "INT64", "[3]"),
        OUT("[0.5,-2,65504]", "FP16", "[3]"),
        OUT("[0.5,-2,65536,0.1005859375]", "BF16", "[4]"),
        OUT("[0.1,-2.5,3.4028235e+38,1e-45,-0]", "FP32", "[5]"),
        OUT("[0.1,1e+300,5e-324,-0,123456789012345680000]", "FP64", "[5]"),
        OUT("[\"NaN\",\"Infinity\",\"-Infinity\"]", "FP32", "[3]"),
        OUT("[\"NaN\",\"Infinity\",\"-Infinity\"]", "BF16", "[3]"),
        OUT("[]", "FP32", "[0,4]"),
        OUT("[7]", "INT32", "[]"),
    };

    (void)state;
    for (size_t i = 0; i < countof(same); i++)
        check_both_ways(INFER_RESPONSE, same[i], same[i]);
}

static void integers_may_be_written_as_floats_and_data_nested(void **state)
{
    (void)state;
    check_both_ways(INFER_RESPONSE, OUT("[[1.0, 1e3],[ -0 ,\n20e-1]]", "INT32", "[2,2]"),
                    OUT("[1,1000,0,2]", "INT32", "[2,2]"));
    check_both_ways(INFER_RESPONSE, OUT("[[[1],[2]],[[3],[4]]]", "FP32", "[4]"),
                    OUT("[1,2,3,4]", "FP32", "[4]"));
    check_both_ways(INFER_RESPONSE, OUT("[NaN,-Infinity,null]", "FP64", "[3]"),
                    OUT("[\"NaN\",\"-Infinity\",\"NaN\"]", "FP64", "[3]"));
    check_both_ways(INFER_RESPONSE, OUT("[1,0,true]", "BOOL", "[3]"),
                    OUT("[true,false,true]", "BOOL", "[3]"));
}

static void keys_come_in_any_case_and_order(void **state)
{
    (void)state;
    check_both_ways(INFER_REQUEST,
                    " {\"Unknown\":{\"a\":[1,{\"b\":null}]},\"INPUTS\":[{\"DATA\":[[\"a\"]],"
                    "\"Name\":\"X\",\"extra\":1.5e3,\"SHAPE\":[1,1],\"DataType\":\"BYTES\","
                    "\"parameters\":{\"content_type\":\"str\",\"a\":1}}],\"id\":\"i\","
                    "\"parameters\":{\"z\":true,\"f\":1.7,\"n\":3.0},"
                    "\"outputs\":[{\"parameters\":{\"k\":\"v\"},\"name\":\"Y\"}]} ",
                    "{\"id\":\"i\",\"parameters\":{\"f\":\"1.7\",\"n\":3,\"z\":true},\"inputs\":[{"
                    "\"data\":[\"a\"],\"name\":\"X\",\"shape\":[1,1],\"datatype\":\"BYTES\","
                    "\"parameters\":{\"a\":1,\"content_type\":\"str\"}}],\"outputs\":[{\"name\":"
                    "\"Y\",\"parameters\":{\"k\":\"v\"}}]}");
    check_both_ways(INFER_RESPONSE,
                    "{\"model_name\":\"m\",\"model_version\":null,\"parameters\":{\"o\":{\"a\": "
                    "1},\"n\":null},\"id\":\"\\u00e9\\ud83d\\ude00\\n\"}",
                    "{\"model_name\":\"m\",\"id\":\"\xc3\xa9\xf0\x9f\x98\x80\\n\",\"parameters\":{"
                    "\"o\":\"{\\\"a\\\": 1}\"}}");
}

static struct infer_view decoded(struct arena *a, struct buf *proto, const char *json)
{
    struct err e = {0};

    buf_clear(proto);
    if (infer_decode_json(bytes_of(json, strlen(json)), strlen(json), INFER_REQUEST, a, proto, NULL,
                          &e))
        fail_msg("%s", e.text);
    return view_of(a, INFER_REQUEST, buf_view(proto));
}

static void bytes_are_strings_or_announced_base64(void **state)
{
    struct arena a = {0};
    struct buf proto = {0}, raw = {0}, json = {0};
    const struct json_style text = {.bytes_as_text = true};
    struct infer_view v;
    struct err e;

    (void)state;
    v = decoded(&a, &proto,
                "{\"inputs\":[{\"name\":\"X\",\"shape\":[2],\"datatype\":\"BYTES\",\"data\":["
                "\"abc\",\"\\u00e9\\u4e2d\"]}]}");
    assert_string_equal(to_hex(&a, buf_view(&proto)),
                        "2a1b0a0158120542595445531a01022a0c42036162634205c3a9e4b8ad");
    assert_int_equal(infer_encode_json(&v, NULL, &json, NULL, &e), RC_OK);
    assert_string_equal(buf_cstr(&json), "{\"inputs\":[{\"data\":[\"YWJj\",\"w6nkuK0=\"],\"name\":"
                                         "\"X\",\"shape\":[2],\"datatype\":\"BYTES\"}]}");
    buf_clear(&json);
    assert_int_equal(infer_encode_json(&v, &text, &json, NULL, &e), RC_OK);
    assert_string_equal(buf_cstr(&json), "{\"inputs\":[{\"data\":[\"abc\",\"\xc3\xa9\xe4\xb8\xad\"]"
                                         ",\"name\":\"X\",\"shape\":[2],\"datatype\":\"BYTES\"}]}");
    v = decoded(&a, &proto,
                "{\"inputs\":[{\"name\":\"X\",\"shape\":[2],\"datatype\":\"BYTES\",\"data\":["
                "\"AAECgA==\",\"\"],\"parameters\":{\"content_type\":\"base64\"}}]}");
    assert_int_equal(infer_tensor_raw(&v.tensors[0], &raw, &e), RC_OK);
    assert_string_equal(to_hex(&a, buf_view(&raw)), "040000000001028000000000");
    buf_clear(&json);
    assert_int_equal(infer_encode_json(&v, &text, &json, NULL, &e), RC_OK);
    assert_string_equal(buf_cstr(&json), "{\"inputs\":[{\"data\":[\"AAECgA==\",\"\"],\"name\":"
                                         "\"X\",\"shape\":[2],\"datatype\":\"BYTES\","
                                         "\"parameters\":{\"content_type\":\"base64\"}}]}");
    buf_fini(&proto);
    buf_fini(&raw);
    buf_fini(&json);
    arena_fini(&a);
}

/* A model server that calls its bytes "str" although they are none gets its answer labelled, not
 * damaged. */
static void bytes_that_are_no_text_become_labelled_base64(void **state)
{
    struct arena a = {0};
    struct infer_view v = view_of(&a, INFER_RESPONSE,
                                  hex(&a, "2a2a0a0158120542595445531a010122150a0c636f6e74656e745f74"
                                          "79706512051a037374722a0442028080"));
    struct buf json = {0};
    struct err e;

    (void)state;
    assert_int_equal(infer_encode_json(&v, NULL, &json, NULL, &e), RC_OK);
    assert_string_equal(buf_cstr(&json), "{\"model_name\":\"\",\"outputs\":[{\"data\":[\"gIA=\"],"
                                         "\"name\":\"X\",\"shape\":[1],\"datatype\":\"BYTES\","
                                         "\"parameters\":{\"content_type\":\"base64\"}}]}");
    buf_fini(&json);
    arena_fini(&a);
}

/* ---- the binary extension ---- */

static void binary_data_is_cut_from_the_tail(void **state)
{
    static const char header[] =
        "{\"inputs\":[{\"name\":\"A\",\"shape\":[2],\"datatype\":\"INT16\",\"parameters\":{"
        "\"binary_data_size\":4,\"k\":1}},"
        "{\"name\":\"J\",\"shape\":[2],\"datatype\":\"FP32\",\"data\":[1,2]},"
        "{\"name\":\"B\",\"shape\":[1],\"datatype\":\"BYTES\",\"parameters\":{\"binary_data_size\":"
        "6}}],"
        "\"outputs\":[{\"name\":\"P\"},{\"name\":\"Q\",\"parameters\":{\"binary_data\":false,"
        "\"content_type\":\"str\"}}],"
        "\"parameters\":{\"binary_data_output\":true}}";
    struct arena a = {0};
    struct buf body = {0}, proto = {0};
    struct json_wants wants;
    struct infer_view v;
    struct err e = {0};

    (void)state;
    buf_append(&body, bytes_of(header, sizeof header - 1));
    buf_append(&body, bytes_of("\1\0\xff\xff\2\0\0\0hi", 10));
    if (infer_decode_json(buf_view(&body), sizeof header - 1, INFER_REQUEST, &a, &proto, &wants,
                          &e))
        fail_msg("%s", e.text);
    v = view_of(&a, INFER_REQUEST, buf_view(&proto));
    assert_int_equal(infer_validate(&v, &e), RC_OK);
    assert_int_equal(v.raws_n, 3);
    assert_string_equal(to_hex(&a, v.tensors[0].raw), "0100ffff");
    assert_string_equal(to_hex(&a, v.tensors[1].raw), "0000803f00000040");
    assert_int_equal(v.tensors[0].params.n, 1);
    assert_int_equal(v.tensors[2].params.n, 0);
    assert_int_equal(v.params.n, 0);
    assert_true(wants.binary && wants.n == 2 && wants.list[0].binary && !wants.list[1].binary &&
                wants.list[1].text);
    buf_fini(&body);
    buf_fini(&proto);
    arena_fini(&a);
}

static void wanted_outputs_are_answered_in_binary(void **state)
{
    struct arena a = {0};
    struct infer_view v = view_of(
        &a, INFER_RESPONSE,
        hex(&a, "0a016d2a120a01581204424f4f4c1a01022a040a0201002a0c0a01591204465033321a0101"));
    const struct json_want list[] = {{STR("X"), true, false}};
    struct json_wants wants = {.list = list, .n = 1};
    struct json_style style = {.wants = &wants};
    struct buf json = {0}, proto = {0}, again = {0};
    struct err e = {0};
    size_t n;

    (void)state;
    assert_int_equal(infer_encode_json(&v, &style, &json, &n, &e), RC_INVALID); /* Y has no data */
    assert_int_equal(json.n, 0);
    v.tensors_n = 1;
    assert_int_equal(infer_encode_json(&v, &style, &json, &n, &e), RC_OK);
    assert_int_equal(json.n, n + 2);
    assert_memory_equal(json.p + n, "\1\0", 2);
    assert_string_equal(arena_printf(&a, "%.*s", (int)n, (char *)json.p).p,
                        "{\"model_name\":\"m\",\"outputs\":[{\"name\":\"X\",\"shape\":[2],"
                        "\"datatype\":\"BOOL\",\"parameters\":{\"binary_data_size\":2}}]}");
    if (infer_decode_json(buf_view(&json), n, INFER_RESPONSE, &a, &proto, NULL, &e))
        fail_msg("%s", e.text);
    v = view_of(&a, INFER_RESPONSE, buf_view(&proto));
    assert_int_equal(infer_encode_json(&v, NULL, &again, NULL, &e), RC_OK);
    assert_string_equal(buf_cstr(&again),
                        "{\"model_name\":\"m\",\"outputs\":[{\"data\":[true,false],\"name\":\"X\","
                        "\"shape\":[2],\"datatype\":\"BOOL\"}]}");
    buf_fini(&json);
    buf_fini(&proto);
    buf_fini(&again);
    arena_fini(&a);
}

/* ---- refusals ---- */

static void check_refused_at(const char *json, size_t json_bytes, enum infer_kind kind,
                             const char *want)
{
    struct arena a = {0};
    struct buf proto = {0};
    struct err e = {0};

    assert_int_equal(
        infer_decode_json(bytes_of(json, strlen(json)), json_bytes, kind, &a, &proto, NULL, &e),
        RC_INVALID);
    assert_string_equal(e.text, want);
    assert_int_equal(proto.n, 0);
    buf_fini(&proto);
    arena_fini(&a);
}

static void check_refused(const char *json, const char *want)
{
    check_refused_at(json, strlen(json), INFER_REQUEST, want);
}

#define IN(data, datatype, shape)                                                                  \
    "{\"inputs\":[{\"name\":\"X\",\"datatype\":\"" datatype "\",\"shape\":" shape                  \
    ",\"data\":" data "}]}"

static void a_wrong_body_is_refused_with_its_place(void **state)
{
    (void)state;
    check_refused("", "the body is empty, a JSON object is wanted (at byte 0)");
    check_refused("{bad", "'b' found where a string should be (at byte 1)");
    check_refused("[1]", "'[' found where an object should be (at byte 0)");
    check_refused("{}", "the request has no \"inputs\" (at byte 2)");
    check_refused("{\"inputs\":[]} x", "something follows the JSON object (at byte 14)");
    check_refused("{\"inputs\":[{\"name\":\"X\"",
                  "inputs[0] \"X\": the JSON ends where ',' or '}' should be (at byte 22)");
    check_refused("{\"id\":5,\"inputs\":[]}", "'5' found where a string should be (at byte 6)");
    check_refused("{\"id\":\"\\ud800\",\"inputs\":[]}", "half of a surrogate pair (at byte 13)");
    check_refused("{\"id\":\"\xff\",\"inputs\":[]}", "a string is not valid UTF-8 (at byte 8)");
    check_refused("{\"id\":\"a\nb\",\"inputs\":[]}",
                  "control character 0x0a in a string (at byte 8)");
    check_refused("{\"inputs\":[],\"Inputs\":[]}", "\"Inputs\" twice (at byte 22)");
    check_refused(
        "{\"parameters\":{\"x\":{}},\"inputs\":[]}",
        "parameters \"x\": a parameter must be a string, a number, true or false (at byte 19)");
    check_refused("{\"parameters\":{\"x\":9223372036854775808},\"inputs\":[]}",
                  "parameters \"x\": a parameter does not fit in 64 bits (at byte 19)");
    check_refused_at("{}", 2, INFER_RESPONSE,
                     "the response has neither \"outputs\" nor \"model_name\" (at byte 2)");
    check_refused_at("{}", 3, INFER_REQUEST,
                     "Inference-Header-Content-Length is 3, the body has 2 bytes");
    check_refused_at("{\"inputs\":[]}xyz", 13, INFER_REQUEST,
                     "3 bytes of binary data belong to no tensor");
}

static void wrong_data_is_refused_with_tensor_and_index(void **state)
{
    (void)state;
    check_refused(IN("[\"a\",2,3,4]", "FP32", "[1,4]"),
                  "inputs[0] \"X\": data[0]: \"a\" is not a number (at byte 63)");
    check_refused(IN("[true,2]", "FP32", "[2]"),
                  "inputs[0] \"X\": data[0]: true is not a number (at byte 61)");
    check_refused(IN("[1,null]", "FP32", "[2]"),
                  "inputs[0] \"X\": data[1]: null is not a number (at byte 63)");
    check_refused(IN("[1,300]", "INT8", "[2]"),
                  "inputs[0] \"X\": data[1]: 300 is out of range for INT8 (at byte 63)");
    check_refused(IN("[-1]", "UINT8", "[1]"),
                  "inputs[0] \"X\": data[0]: -1 is out of range for UINT8 (at byte 62)");
    check_refused(
        IN("[18446744073709551616]", "UINT64", "[1]"),
        "inputs[0] \"X\": data[0]: 18446744073709551616 is out of range for UINT64 (at byte 63)");
    check_refused(IN("[1.5]", "INT32", "[1]"),
                  "inputs[0] \"X\": data[0]: 1.5 is not an integer (at byte 62)");
    check_refused(IN("[{\"a\":1}]", "INT32", "[1]"),
                  "inputs[0] \"X\": data[0]: {\"a\":1} is not an integer (at byte 62)");
    check_refused(IN("[1e39]", "FP32", "[1]"),
                  "inputs[0] \"X\": data[0]: 1e39 is out of range for FP32 (at byte 61)");
    check_refused(IN("[70000]", "FP16", "[1]"),
                  "inputs[0] \"X\": data[0]: 70000 is out of range for FP16 (at byte 61)");
    check_refused(IN("[2]", "BOOL", "[1]"),
                  "inputs[0] \"X\": data[0]: 2 is neither true nor false (at byte 61)");
    check_refused(IN("[5]", "BYTES", "[1]"),
                  "inputs[0] \"X\": data[0]: 5 is not a string (at byte 62)");
    check_refused(IN("[1,2]", "INT32", "[2,2]"),
                  "inputs[0] \"X\": the shape wants 4 elements, data has 2 (at byte 68)");
    check_refused(IN("[1,2,3,4]", "FP32", "[2]"),
                  "inputs[0] \"X\": the shape wants 2 elements, data has 4 (at byte 69)");
    check_refused(
        IN("[[1,2],[3]]", "INT32", "[3]"),
        "inputs[0] \"X\": data is ragged: an array of 1 where the first has 2 (at byte 71)");
    check_refused(IN("[[1,2],3]", "INT32", "[3]"),
                  "inputs[0] \"X\": data is ragged: an element beside arrays (at byte 68)");
    check_refused(IN("[[1],[[2]]]", "INT32", "[2]"),
                  "inputs[0] \"X\": data is ragged: elements on different levels (at byte 68)");
    check_refused(IN("5", "FP32", "[1]"), "inputs[0] \"X\": data is not an array (at byte 60)");
    check_refused(IN("[1", "FP32", "[1]"),
                  "inputs[0] \"X\": '}' found where ']' should be (at byte 62)");
    check_refused(IN("[01]", "INT32", "[1]"),
                  "inputs[0] \"X\": '1' found where ']' should be (at byte 63)");
    check_refused(IN("[1]", "FP33", "[1]"),
                  "inputs[0] \"X\": unknown datatype \"FP33\" (at byte 40)");
    check_refused(IN("[1]", "FP32", "[-1]"),
                  "inputs[0] \"X\": shape[0] is not a size (at byte 50)");
    check_refused(IN("[1]", "FP32", "[4294967296,4294967296]"),
                  "inputs[0] \"X\": the shape has more elements than can be counted (at byte 72)");
    check_refused("{\"inputs\":[{\"name\":\"X\",\"shape\":[1],\"datatype\":\"FP32\"}]}",
                  "inputs[0] \"X\": the tensor has no data (at byte 53)");
    check_refused("{\"inputs\":[{\"name\":\"X\",\"shape\":[1],\"data\":[1]}]}",
                  "inputs[0] \"X\": the tensor has no datatype (at byte 46)");
    check_refused("{\"inputs\":[{\"shape\":[1],\"datatype\":\"FP32\",\"data\":[1]}]}",
                  "inputs[0]: the tensor has no name (at byte 53)");
    check_refused("{\"inputs\":[{\"name\":\"X\",\"shape\":[1],\"datatype\":\"BYTES\","
                  "\"parameters\":{\"content_type\":\"base64\"},\"data\":[\"a!\"]}]}",
                  "inputs[0] \"X\": data[0]: \"a!\" is not base64, which content_type announces "
                  "(at byte 101)");
    check_refused("{\"inputs\":[{\"name\":\"X\",\"shape\":[1],\"datatype\":\"FP32\",\"parameters\":"
                  "{\"binary_data_size\":4}}]}",
                  "tensor \"X\": binary_data_size is 4, 0 bytes are left");
}

static void deep_nesting_is_refused(void **state)
{
    struct arena a = {0};
    struct buf deep = {0}, proto = {0};
    struct err e = {0};

    (void)state;
    buf_append_str(&deep, STR("{\"x\":"));
    for (int i = 0; i < 100000; i++)
        buf_append_byte(&deep, '[');
    assert_int_equal(
        infer_decode_json(buf_view(&deep), deep.n, INFER_REQUEST, &a, &proto, NULL, &e),
        RC_INVALID);
    assert_string_equal(e.text, "nested deeper than 64 (at byte 69)");
    buf_clear(&deep);
    buf_append_str(
        &deep, STR("{\"inputs\":[{\"name\":\"X\",\"datatype\":\"FP32\",\"shape\":[1],\"data\":"));
    for (int i = 0; i < 100000; i++)
        buf_append_byte(&deep, '[');
    assert_int_equal(
        infer_decode_json(buf_view(&deep), deep.n, INFER_REQUEST, &a, &proto, NULL, &e),
        RC_INVALID);
    assert_non_null(strstr(e.text, "nested deeper than 64"));
    buf_fini(&deep);
    buf_fini(&proto);
    arena_fini(&a);
}

/* ---- numbers ---- */

static void floats_read_back_from_their_shortest_text(void **state)
{
    static const struct {
        double v;
        const char *text;
    } doubles[] = {
        {0, "0"},
        {-0.0, "-0"},
        {1e21, "1e+21"},
        {1e20, "100000000000000000000"},
        {1e-6, "0.000001"},
        {1e-7, "1e-7"},
        {5e-324, "5e-324"},
        {0.1, "0.1"},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
        {100, "100"},
        {-2.5, "-2.5"},
        {9007199254740992, "9007199254740992"},
        {2.2250738585072014e-308, "2.2250738585072014e-308"},
    };
    char text[40];

    (void)state;
    for (size_t i = 0; i < countof(doubles); i++) {
        text[fp64_text(doubles[i].v, text)] = 0;
        assert_string_equal(text, doubles[i].text);
    }
    text[fp32_text(16777216.0f, text)] = 0;
    assert_string_equal(text, "16777216");
}

static void every_half_survives_the_way_through_float(void **state)
{
    (void)state;
    for (unsigned h = 0; h < 65536; h++) {
        if ((h & 0x7fff) <= 0x7c00) assert_int_equal(half_of_float(half_to_float((uint16_t)h)), h);
        if ((h & 0x7fff) <= 0x7f80)
            assert_int_equal(bfloat_of_float(bfloat_to_float((uint16_t)h)), h);
    }
}

static void half_conversion_rounds_to_even_and_to_infinity(void **state)
{
    (void)state;
    assert_int_equal(half_of_float(65519.996f), 0x7bff);
    assert_int_equal(half_of_float(65520.0f), 0x7c00);
    assert_int_equal(half_of_float(2049.0f), 0x6800);
    assert_int_equal(half_of_float(2051.0f), 0x6802);
    assert_int_equal(half_of_float(0x1p-25f), 0);
    assert_int_equal(half_of_float(0x1.8p-25f), 1);
    assert_int_equal(half_of_float(-0x1p-24f), 0x8001);
    assert_true(isnan(half_to_float(half_of_float(NAN))));
    assert_true(isnan(bfloat_to_float(bfloat_of_float(NAN))));
    assert_int_equal(bfloat_of_float(0x1.01p0f), 0x3f80);
    assert_int_equal(bfloat_of_float(0x1.03p0f), 0x3f82);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_datatype_keeps_its_values),
        cmocka_unit_test(integers_may_be_written_as_floats_and_data_nested),
        cmocka_unit_test(keys_come_in_any_case_and_order),
        cmocka_unit_test(bytes_are_strings_or_announced_base64),
        cmocka_unit_test(bytes_that_are_no_text_become_labelled_base64),
        cmocka_unit_test(binary_data_is_cut_from_the_tail),
        cmocka_unit_test(wanted_outputs_are_answered_in_binary),
        cmocka_unit_test(a_wrong_body_is_refused_with_its_place),
        cmocka_unit_test(wrong_data_is_refused_with_tensor_and_index),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(floats_read_back_from_their_shortest_text),
        cmocka_unit_test(every_half_survives_the_way_through_float),
        cmocka_unit_test(half_conversion_rounds_to_even_and_to_infinity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
