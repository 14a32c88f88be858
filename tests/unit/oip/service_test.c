/* SPDX-License-Identifier: Apache-2.0 */
#include "oip/service.h"
#include "oip_help.h"

static void flags_and_references_have_the_protocols_bytes(void **state)
{
    struct arena a = {0};
    struct buf b = {0};
    struct model_ref m = {STR("g-single"), {0}};
    struct err e;
    bool ready;

    (void)state;
    model_ref_encode(&m, &b);
    assert_string_equal(to_hex(&a, buf_view(&b)), "0a08672d73696e676c65");
    assert_int_equal(model_ref_decode(hex(&a, "0a0178120131"), &m, &e), RC_OK);
    assert_str(m.name, "x");
    assert_str(m.version, "1");
    buf_clear(&b);
    flag_encode(true, &b);
    assert_string_equal(to_hex(&a, buf_view(&b)), "0801");
    assert_int_equal(flag_decode(buf_view(&b), &ready, &e), RC_OK);
    assert_true(ready);
    assert_int_equal(flag_decode((struct bytes){0}, &ready, &e), RC_OK);
    assert_false(ready);
    assert_int_equal(model_ref_decode(hex(&a, "0aff"), &m, &e), RC_INVALID);
    assert_string_equal(e.text, "model request: cut off inside a varint (at 2 of 2)");
    buf_fini(&b);
    arena_fini(&a);
}

static void metadata_comes_back_as_it_was(void **state)
{
    struct arena a = {0};
    struct buf b = {0}, json = {0};
    const int64_t shape[] = {-1, 30};
    const struct str versions[] = {STR("1"), STR("2")};
    const struct tensor_metadata in = {
        .name = STR("X"), .datatype = STR("FP32"), .shape = shape, .shape_n = 2};
    struct model_metadata m = {.name = STR("m"),
                               .platform = STR("xgboost"),
                               .versions = versions,
                               .versions_n = 2,
                               .inputs = &in,
                               .inputs_n = 1,
                               .outputs = &in,
                               .outputs_n = 1},
                          back;
    struct server_metadata s = {.name = STR("millrace"),
                                .version = STR("0"),
                                .extensions = versions,
                                .extensions_n = 2},
                           s2;
    struct err e;

    (void)state;
    model_metadata_encode(&m, &b);
    assert_int_equal(model_metadata_decode(buf_view(&b), &a, &back, &e), RC_OK);
    model_metadata_encode_json(&back, &json);
    assert_string_equal(buf_cstr(&json),
                        "{\"name\":\"m\",\"versions\":[\"1\",\"2\"],\"platform\":\"xgboost\","
                        "\"inputs\":[{\"name\":\"X\",\"datatype\":\"FP32\",\"shape\":[-1,30]}],"
                        "\"outputs\":[{\"name\":\"X\",\"datatype\":\"FP32\",\"shape\":[-1,30]}]}");
    buf_clear(&b);
    buf_clear(&json);
    server_metadata_encode(&s, &b);
    assert_int_equal(server_metadata_decode(buf_view(&b), &a, &s2, &e), RC_OK);
    server_metadata_encode_json(&s2, &json);
    assert_string_equal(buf_cstr(&json),
                        "{\"name\":\"millrace\",\"version\":\"0\",\"extensions\":[\"1\",\"2\"]}");
    buf_fini(&b);
    buf_fini(&json);
    arena_fini(&a);
}

static void repository_messages_come_back_as_they_were(void **state)
{
    struct arena a = {0};
    struct buf b = {0}, json = {0};
    const struct model_index models[] = {{STR("a"), STR("1"), STR("READY"), {0}},
                                         {STR("b\""), {0}, STR("UNAVAILABLE"), STR("gone")}};
    struct repository_index m = {models, 2}, back;
    struct repository_index_request q = {STR("r"), true}, q2;
    struct repository_model load = {STR("r"), STR("m"), {0}}, load2;
    struct err e;

    (void)state;
    repository_index_encode(&m, &b);
    assert_int_equal(repository_index_decode(buf_view(&b), &a, &back, &e), RC_OK);
    repository_index_encode_json(&back, &json);
    assert_string_equal(
        buf_cstr(&json),
        "[{\"name\":\"a\",\"version\":\"1\",\"state\":\"READY\",\"reason\":\"\"},"
        "{\"name\":\"b\\\"\",\"version\":\"\",\"state\":\"UNAVAILABLE\",\"reason\":\"gone\"}]");
    buf_clear(&b);
    repository_index_request_encode(&q, &b);
    assert_int_equal(repository_index_request_decode(buf_view(&b), &q2, &e), RC_OK);
    assert_true(q2.ready && str_is(q2.repository_name, "r"));
    buf_clear(&b);
    repository_model_encode(&load, &b);
    assert_int_equal(repository_model_decode(buf_view(&b), &a, &load2, &e), RC_OK);
    assert_str(load2.model_name, "m");
    buf_fini(&b);
    buf_fini(&json);
    arena_fini(&a);
}

/* Answer to one question asked in field `number`; returns field `want` of the response. */
static struct bytes ask(struct arena *a, uint32_t number, const char *text, uint32_t want)
{
    struct buf request = {0}, response = {0};
    struct bytes found = {0};
    struct pb_reader r;
    struct err e = {0};

    pb_put_bytes(&request, number, str_bytes(str_of(text)));
    if (reflection_answer(buf_view(&request), &response, &e)) fail_msg("%s", e.text);
    r = pb_reader_of(buf_view(&response));
    for (struct pb_field f; pb_next(&r, &f);) {
        if (f.number == 2) assert_true(bytes_eq(f.bytes, buf_view(&request)));
        if (f.number == want) found = arena_dup(a, f.bytes);
    }
    assert_null(r.why);
    buf_fini(&request);
    buf_fini(&response);
    return found;
}

static void reflection_finds_files_by_name_and_symbol(void **state)
{
    struct arena a = {0};
    struct bytes by_name = ask(&a, 3, "grpc_service.proto", 4), services = ask(&a, 7, "*", 6);

    (void)state;
    assert_true(by_name.n > 1000);
    assert_true(bytes_eq(by_name, ask(&a, 4, "inference.GRPCInferenceService", 4)));
    assert_true(bytes_eq(by_name, ask(&a, 4, "inference.GRPCInferenceService.ModelInfer", 4)));
    assert_true(bytes_eq(by_name, ask(&a, 4, "inference.ModelInferRequest.InferInputTensor", 4)));
    assert_true(ask(&a, 4, "grpc.health.v1.HealthCheckResponse.SERVING", 4).n > 100);
    assert_int_equal(ask(&a, 4, "inference.Nothing", 4).n, 0);
    assert_memory_equal(ask(&a, 4, "inference.Nothing", 7).p, "\x08\x05\x12", 3);
    assert_memory_equal(ask(&a, 9, "", 7).p, "\x08\x03\x12", 3);
    assert_non_null(memmem(services.p, services.n, "grpc.reflection.v1alpha.ServerReflection", 40));
    assert_non_null(memmem(services.p, services.n, "inference.GRPCInferenceService", 30));
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flags_and_references_have_the_protocols_bytes),
        cmocka_unit_test(metadata_comes_back_as_it_was),
        cmocka_unit_test(repository_messages_come_back_as_they_were),
        cmocka_unit_test(reflection_finds_files_by_name_and_symbol),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
