/* The gateway over HTTP/2, as gRPC callers see it. SPDX-License-Identifier: Apache-2.0 */
#include "world.h"

struct grpc {
    struct h2_call call;
    struct buf data, message, headers;
    int status, ended;
};

static void on_header(struct h2_call *c, struct str name, struct str value, bool trailer)
{
    struct grpc *r = container_of(c, struct grpc, call);
    int64_t n;

    if (str_is(name, "grpc-status") && str_to_i64(value, &n)) r->status = (int)n;
    if (str_is(name, "grpc-message")) grpc_message_decode(&r->message, value);
    buf_printf(&r->headers, "%s" STR_FMT ": " STR_FMT "\n", trailer ? "trailer " : "",
               STR_ARG(name), STR_ARG(value));
}

static void on_data(struct h2_call *c, struct bytes data)
{
    buf_append(&container_of(c, struct grpc, call)->data, data);
}

static void on_ended(struct h2_call *c, const struct err *e)
{
    (void)e;
    container_of(c, struct grpc, call)->ended++;
}

static void grpc_fini(struct grpc *r)
{
    buf_fini(&r->data);
    buf_fini(&r->message);
    buf_fini(&r->headers);
}

/* Starts a call; more: up to four further headers. */
static void grpc_start(struct world *w, struct grpc *r, const char *path, struct bytes body,
                       const struct header *more, size_t n)
{
    struct header h[10] = {
        HEADER(":method", STR("POST")), HEADER(":scheme", STR("http")),
        HEADER(":path", str_of(path)),  HEADER(":authority", STR("h")),
        HEADER("te", STR("trailers")),  HEADER("content-type", STR("application/grpc"))};
    const struct h2_client_owner owner = {on_opened, on_opened, on_closed, w};
    struct err e;

    if (n) memcpy(h + 6, more, n * sizeof *more);
    *r = (struct grpc){.status = -1};
    if (!w->h2) w->h2 = h2_client_shared_new();
    if (!w->client)
        assert_int_equal(
            h2_client_open(w->tcp, w->h2, gateway_door_addr(w->door), &owner, &w->client, &e),
            RC_OK);
    r->call = (struct h2_call){.headers = h,
                               .headers_n = 6 + n,
                               .body = {body},
                               .header = on_header,
                               .data = on_data,
                               .ended = on_ended};
    assert_int_equal(h2_call_start(w->client, &r->call, &e), RC_OK);
    settle(w);
}

static struct buf framed(struct bytes message, bool compressed)
{
    struct buf b = {0};

    grpc_frame_put(buf_grow(&b, 5), compressed, (uint32_t)message.n);
    buf_append(&b, message);
    return b;
}

static void grpc_wait(struct world *w, struct grpc *r)
{
    for (int i = 0; i < 2000 && !r->ended; i++)
        settle(w);
    assert_int_equal(r->ended, 1);
}

static void grpc(struct world *w, struct grpc *r, const char *path, struct bytes message,
                 const struct header *more, size_t n)
{
    struct buf body = framed(message, false);

    grpc_start(w, r, path, buf_view(&body), more, n);
    grpc_wait(w, r);
    buf_fini(&body);
}

static struct bytes answer_of(struct grpc *r)
{
    assert_true(r->data.n >= 5 && r->data.p[0] == 0 && load_be32(r->data.p + 1) == r->data.n - 5);
    return bytes_of(r->data.p + 5, r->data.n - 5);
}

#define SERVICE "/inference.GRPCInferenceService/"

static void grpc_calls_are_routed_by_header_and_by_name(void **state)
{
    struct world w;
    struct grpc r;
    struct buf m = {0};
    const struct header pipeline[] = {HEADER("seldon-model", STR("chain.pipeline")),
                                      HEADER("x-request-id", STR("a")),
                                      HEADER("x-request-id", STR("b")), HEADER("x-who", STR("me"))};

    (void)state;
    world_new(&w);
    message_write(&m, "INPUT=1,2");
    grpc(&w, &r, SERVICE "ModelInfer", buf_view(&m), pipeline, 4);
    assert_int_equal(r.status, GRPC_OK);
    assert_string_equal(message_text(answer_of(&r)), "OUTPUT=20,30");
    assert_in(buf_cstr(&r.headers), "\nx-request-id: 0.chain.b\n");
    assert_in(buf_cstr(&r.headers), "\nx-who: me\n");
    assert_not_in(buf_cstr(&r.headers), "x-request-id: a\n");
    assert_in(buf_cstr(&r.headers), "trailer grpc-status: 0\n");
    grpc_fini(&r);
    pb_put_str(&m, 1, STR("mul10"));
    grpc(&w, &r, SERVICE "ModelInfer", buf_view(&m), NULL, 0);
    assert_int_equal(r.status, GRPC_OK);
    assert_string_equal(message_text(answer_of(&r)), "OUTPUT=10,20");
    grpc_fini(&r);
    buf_fini(&m);
    world_free(&w);
}

static void grpc_errors_carry_code_and_text(void **state)
{
    struct world w;
    struct grpc r;
    struct buf m = {0};

    (void)state;
    world_new(&w);
    message_write(&m, "INPUT=1,2");
    grpc(&w, &r, SERVICE "ModelInfer", buf_view(&m),
         (struct header[]){HEADER("seldon-model", STR("bad.pipeline"))}, 1);
    assert_int_equal(r.status, GRPC_INVALID_ARGUMENT);
    assert_in(buf_cstr(&r.message), "error : rpc error: code = InvalidArgument desc = ");
    assert_int_equal(r.data.n, 0);
    grpc_fini(&r);
    grpc(&w, &r, SERVICE "ModelInfer", buf_view(&m),
         (struct header[]){HEADER("seldon-model", STR("nosuch"))}, 1);
    assert_int_equal(r.status, GRPC_NOT_FOUND);
    grpc_fini(&r);
    grpc(&w, &r, SERVICE "ModelInfer", buf_view(&m), NULL, 0);
    assert_int_equal(r.status, GRPC_INVALID_ARGUMENT);
    grpc_fini(&r);
    grpc(&w, &r, SERVICE "ModelInfer", str_bytes(STR("\xff\xff")),
         (struct header[]){HEADER("seldon-model", STR("mul10"))}, 1);
    assert_int_equal(r.status, GRPC_INVALID_ARGUMENT);
    grpc_fini(&r);
    grpc(&w, &r, SERVICE "ModelInfer", buf_view(&m),
         (struct header[]){HEADER("seldon-model", STR("mul10")), HEADER("grpc-timeout", STR("5x"))},
         2);
    assert_int_equal(r.status, GRPC_INVALID_ARGUMENT);
    grpc_fini(&r);
    grpc(&w, &r, SERVICE "Nothing", buf_view(&m), NULL, 0);
    assert_int_equal(r.status, GRPC_UNIMPLEMENTED);
    grpc_fini(&r);
    grpc(&w, &r, "/other.Service/Do", buf_view(&m), NULL, 0);
    assert_int_equal(r.status, GRPC_UNIMPLEMENTED);
    grpc_fini(&r);
    buf_fini(&m);
    world_free(&w);
}

static void grpc_frames_are_checked(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
        const char *encoding;
        int status;
    } cases[] = {
        {"", 0, NULL, GRPC_INVALID_ARGUMENT},
        {"\0\0\0", 3, NULL, GRPC_INVALID_ARGUMENT},
        {"\0\0\0\0\5ab", 7, NULL, GRPC_INVALID_ARGUMENT},
        {"\7\0\0\0\0", 5, NULL, GRPC_INVALID_ARGUMENT},
        {"\1\0\0\0\1x", 6, NULL, GRPC_INVALID_ARGUMENT},
        {"\1\0\0\0\1x", 6, "gzip", GRPC_INVALID_ARGUMENT},
        {"\0\0\0\0\0", 5, "br", GRPC_UNIMPLEMENTED},
        {"\0\x7f\xff\xff\xff", 5, NULL, GRPC_RESOURCE_EXHAUSTED},
        {"\0\0\0\0\0\0\0\0\0\0", 10, NULL, GRPC_INVALID_ARGUMENT},
    };
    struct world w;
    struct grpc r;

    (void)state;
    world_new(&w);
    for (size_t i = 0; i < countof(cases); i++) {
        const struct header encoding = HEADER("grpc-encoding", str_of(cases[i].encoding));

        grpc_start(&w, &r, SERVICE "ServerReady", bytes_of(cases[i].bytes, cases[i].n), &encoding,
                   cases[i].encoding ? 1 : 0);
        grpc_wait(&w, &r);
        if (r.status != cases[i].status) fail_msg("case %zu: status %d", i, r.status);
        if (cases[i].status == GRPC_UNIMPLEMENTED)
            assert_in(buf_cstr(&r.headers), "grpc-accept-encoding: identity,gzip");
        grpc_fini(&r);
    }
    world_free(&w);
}

static void a_gzipped_message_is_read(void **state)
{
    /* gzip of the ModelReadyRequest {name: "mul10"} */
    static const uint8_t zipped[] = {0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02,
                                     0x03, 0xe3, 0x62, 0xcd, 0x2d, 0xcd, 0x31, 0x34, 0x00,
                                     0x00, 0x8b, 0xf7, 0xdb, 0xf5, 0x07, 0x00, 0x00, 0x00};
    struct world w;
    struct grpc r;
    struct buf body = framed(bytes_of(zipped, sizeof zipped), true);
    const struct header encoding = HEADER("grpc-encoding", STR("gzip"));

    (void)state;
    world_new(&w);
    grpc_start(&w, &r, SERVICE "ModelReady", buf_view(&body), &encoding, 1);
    settle(&w);
    fixture_advance(&w.f, 100); /* the model's topics are made meanwhile */
    grpc_wait(&w, &r);
    assert_int_equal(r.status, GRPC_OK);
    assert_memory_equal(answer_of(&r).p, "\x08\x01", 2);
    grpc_fini(&r);
    buf_fini(&body);
    world_free(&w);
}

static void a_large_message_comes_and_goes(void **state)
{
    struct world w;
    struct grpc r;
    struct buf m = {0};
    size_t at = 0, shape = 0, raw = 1 << 23;
    struct arena a = {0};
    struct infer_view v;
    struct err e;

    (void)state;
    world_with(&w, (struct gateway_options){.message_bytes_max = 16 << 20},
               (const char *const[]){"p: raw; out < raw", NULL}, NULL);
    at = pb_begin(&m, 5);
    pb_put_str(&m, 1, STR("INPUT"));
    pb_put_str(&m, 2, STR("UINT8"));
    shape = pb_begin(&m, 3);
    pb_put_varint(&m, raw);
    pb_end(&m, shape);
    pb_end(&m, at);
    pb_put_len(&m, 7, raw);
    memset(buf_grow(&m, raw), 7, raw);
    grpc(&w, &r, SERVICE "ModelInfer", buf_view(&m),
         (struct header[]){HEADER("seldon-model", STR("p.pipeline"))}, 1);
    assert_int_equal(r.status, GRPC_OK);
    assert_int_equal(infer_parse(answer_of(&r), INFER_RESPONSE, &a, &v, &e), RC_OK);
    assert_int_equal(v.tensors[0].raw.n, raw);
    arena_fini(&a);
    grpc_fini(&r);
    buf_fini(&m);
    world_free(&w);
}

static void a_grpc_client_that_gives_up_cancels(void **state)
{
    struct world w;
    struct grpc r;
    struct buf m = {0}, body;

    (void)state;
    world_new(&w);
    message_write(&m, "INPUT=1,2");
    body = framed(buf_view(&m), false);
    grpc_start(&w, &r, SERVICE "ModelInfer", buf_view(&body),
               (struct header[]){HEADER("seldon-model", STR("late.pipeline"))}, 1);
    for (int i = 0; i < 2000 && !w.f.up->calls_n; i++)
        settle(&w);
    h2_call_reset(&r.call);
    for (int i = 0; i < 2000 && !w.f.up->cancelled; i++)
        settle(&w);
    assert_int_equal(w.f.up->cancelled, 1);
    grpc_fini(&r);
    grpc_start(&w, &r, SERVICE "ModelInfer", buf_view(&body),
               (struct header[]){HEADER("seldon-model", STR("late.pipeline")),
                                 HEADER("grpc-timeout", STR("300m"))},
               2);
    for (int i = 0; i < 2000 && !w.f.up->calls_n; i++)
        settle(&w);
    fixture_advance(&w.f, 301);
    grpc_wait(&w, &r);
    assert_int_equal(r.status, GRPC_DEADLINE_EXCEEDED);
    grpc_fini(&r);
    buf_fini(&m);
    buf_fini(&body);
    world_free(&w);
}

static void all_unary_methods_answer(void **state)
{
    struct world w;
    struct grpc r;
    struct buf m = {0};
    struct arena a = {0};
    struct server_metadata sm;
    struct repository_index index;
    struct err e;

    (void)state;
    world_new(&w);
    grpc(&w, &r, SERVICE "ServerLive", (struct bytes){0}, NULL, 0);
    assert_memory_equal(answer_of(&r).p, "\x08\x01", 2);
    grpc_fini(&r);
    w.ready = false;
    grpc(&w, &r, SERVICE "ServerReady", (struct bytes){0}, NULL, 0);
    assert_int_equal(r.status, GRPC_OK);
    assert_int_equal(answer_of(&r).n, 0);
    grpc_fini(&r);
    grpc(&w, &r, "/grpc.health.v1.Health/Check", (struct bytes){0}, NULL, 0);
    assert_memory_equal(answer_of(&r).p, "\x08\x02", 2);
    grpc_fini(&r);
    w.ready = true;
    grpc(&w, &r, "/grpc.health.v1.Health/Check", (struct bytes){0}, NULL, 0);
    assert_memory_equal(answer_of(&r).p, "\x08\x01", 2);
    grpc_fini(&r);
    grpc(&w, &r, SERVICE "ServerMetadata", (struct bytes){0}, NULL, 0);
    assert_int_equal(server_metadata_decode(answer_of(&r), &a, &sm, &e), RC_OK);
    assert_str(sm.version, "9.9");
    grpc_fini(&r);
    grpc(&w, &r, SERVICE "RepositoryIndex", (struct bytes){0}, NULL, 0);
    assert_int_equal(repository_index_decode(answer_of(&r), &a, &index, &e), RC_OK);
    assert_true(index.models_n >= 3);
    grpc_fini(&r);
    model_ref_encode(&(struct model_ref){STR("chain.pipeline"), {0}}, &m);
    grpc(&w, &r, SERVICE "ModelReady", buf_view(&m), NULL, 0);
    assert_memory_equal(answer_of(&r).p, "\x08\x01", 2);
    grpc_fini(&r);
    grpc(&w, &r, SERVICE "ModelMetadata", buf_view(&m), NULL, 0);
    assert_int_equal(r.status, GRPC_OK);
    grpc_fini(&r);
    buf_clear(&m);
    model_ref_encode(&(struct model_ref){STR("nosuch"), {0}}, &m);
    grpc(&w, &r, SERVICE "ModelReady", buf_view(&m), NULL, 0);
    assert_int_equal(r.status, GRPC_NOT_FOUND);
    grpc_fini(&r);
    buf_fini(&m);
    arena_fini(&a);
    world_free(&w);
}

static void drained(void *ctx)
{
    (void)ctx;
}

static void the_health_is_watched_until_the_end(void **state)
{
    struct world w;
    struct grpc r, other, gone;
    struct buf ask = {0}, body = framed((struct bytes){0}, false), unknown;

    (void)state;
    world_new(&w);
    pb_put_str(&ask, 1, STR("no.such.Service"));
    unknown = framed(buf_view(&ask), false);
    grpc_start(&w, &r, "/grpc.health.v1.Health/Watch", buf_view(&body), NULL, 0);
    grpc_start(&w, &other, "/grpc.health.v1.Health/Watch", buf_view(&unknown), NULL, 0);
    grpc_start(&w, &gone, "/grpc.health.v1.Health/Watch", buf_view(&body), NULL, 0);
    for (int i = 0; i < 2000 && (!r.data.n || !other.data.n || !gone.data.n); i++)
        settle(&w);
    h2_call_reset(&gone.call);
    settle(&w);
    fixture_advance(&w.f, 1000);
    settle(&w);
    assert_int_equal(r.data.n, 7);
    assert_memory_equal(r.data.p, "\0\0\0\0\x2\x8\x1", 7); /* serving */
    assert_memory_equal(other.data.p, "\0\0\0\0\x2\x8\x3", 7);
    w.ready = false;
    for (int i = 0; i < 20 && r.data.n < 14; i++) {
        fixture_advance(&w.f, 250);
        settle(&w);
    }
    assert_int_equal(r.data.n, 14);
    assert_memory_equal(r.data.p + 7, "\0\0\0\0\x2\x8\x2", 7);
    w.ready = true;
    for (int i = 0; i < 20 && r.data.n < 21; i++) {
        fixture_advance(&w.f, 250);
        settle(&w);
    }
    assert_int_equal(r.data.n, 21);
    assert_int_equal(r.ended, 0);
    gateway_drain(w.g, loop_now_ms(w.f.loop) + 1000, drained, NULL);
    grpc_wait(&w, &r);
    assert_int_equal(r.status, GRPC_UNAVAILABLE);
    assert_int_equal(r.data.n, 28); /* not serving comes before the end */
    grpc_wait(&w, &other);
    assert_int_equal(other.data.n, 7);
    assert_int_equal(gone.data.n, 7);
    grpc_fini(&r);
    grpc_fini(&other);
    grpc_fini(&gone);
    buf_fini(&ask);
    buf_fini(&body);
    buf_fini(&unknown);
    world_free(&w);
}

static void reflection_is_answered_message_by_message(void **state)
{
    struct world w;
    struct grpc r;
    struct buf ask = {0}, body = {0};

    (void)state;
    world_new(&w);
    pb_put_bytes(&ask, 7, (struct bytes){0}); /* list_services */
    for (int i = 0; i < 2; i++) {
        struct buf one = framed(buf_view(&ask), false);

        buf_append(&body, buf_view(&one));
        buf_fini(&one);
    }
    grpc_start(&w, &r, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", buf_view(&body),
               NULL, 0);
    grpc_wait(&w, &r);
    assert_int_equal(r.status, GRPC_OK);
    assert_true(r.data.n > 10 && 2 * (load_be32(r.data.p + 1) + 5) == r.data.n);
    assert_non_null(memmem(r.data.p, r.data.n, "inference.GRPCInferenceService", 30));
    grpc_fini(&r);
    grpc(&w, &r, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
         str_bytes(STR("\xff")), NULL, 0);
    assert_int_equal(r.status, GRPC_INVALID_ARGUMENT);
    grpc_fini(&r);
    buf_fini(&ask);
    buf_fini(&body);
    world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grpc_calls_are_routed_by_header_and_by_name),
        cmocka_unit_test(grpc_errors_carry_code_and_text),
        cmocka_unit_test(grpc_frames_are_checked),
        cmocka_unit_test(a_gzipped_message_is_read),
        cmocka_unit_test(a_large_message_comes_and_goes),
        cmocka_unit_test(a_grpc_client_that_gives_up_cancels),
        cmocka_unit_test(all_unary_methods_answer),
        cmocka_unit_test(the_health_is_watched_until_the_end),
        cmocka_unit_test(reflection_is_answered_message_by_message),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
