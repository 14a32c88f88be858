/* tests/support/toy_server.c - a V2 model server (gRPC and REST on one port) that costs next to nothing.
 *
 *   toy_server [HOST:PORT]            prints "ready infer=HOST:PORT pid=N" and serves until SIGTERM
 * A model is known by its name up to the first '-':
 *   mul10, add10   the first tensor times or plus ten, as OUTPUT, typed          sum      all inputs, added up, as OUTPUT
 *   echo           the same tensors, typed                                       raw      the same tensors, byte for byte, by model "raw_1"
 *   conditional    CHOICE 0: INPUT0 as OUTPUT0; else INPUT1 as OUTPUT1           hdr      echo with response headers and a trailer
 *   slow           echo after 0.8 s                                              iris…    one class a row, always 2
 *   tfsimple       INPUT0 + INPUT1 and INPUT0 - INPUT1, both [-1,16]             rawu8 …  a fixed raw tensor: u8 i8 u16 i16 fp16 bool bytes
 *   add20, math    plus twenty; plus ten                                         identity  echo, after a millisecond
 *   counter        INT32 plus one as `output`, with `continue` or (from 10) `stop`
 *   choice-is-one, choice-is-two      the same tensors and `status` if `choice` is that; else only `status`
 *   id1, id2       INPUT1 as OUTPUT1      join   INPUT1 + INPUT2 as OUTPUT1     drift  `is_drift`, 0, whatever came
 *   outlier, check times ten; an error if the input adds up to more than 100
 *   error, unavail, internal          InvalidArgument, Unavailable, Internal
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/diag.h"
#include "net/http_server.h"
#include "oip/json.h"
#include "oip/pb.h"
#include "oip/proto.h"
#include "oip/service.h"
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum { SLOW_MS = 800 };

struct toy {
    struct loop *loop;
    struct http_server *server;
    struct listener *listener;
    struct watch signals;
};

struct answer {
    struct buf message; /* ModelInferResponse */
    int code;           /* gRPC; 0 is fine */
    const char *text;
    uint64_t delay_ms;
    bool headers;
};

/* ---- Models ---- */

static void put_tensor(struct buf *b, const struct infer_tensor *like, struct str name,
                       struct bytes raw)
{
    size_t at = pb_begin(b, 5), shape, contents;

    pb_put_str(b, 1, name);
    pb_put_str(b, 2, like->datatype);
    shape = pb_begin(b, 3);
    for (size_t i = 0; i < like->shape_n; i++)
        pb_put_varint(b, (uint64_t)like->shape[i]);
    pb_end(b, shape);
    for (size_t i = 0; i < like->params.n; i++)
        pb_put_bytes(b, 4, like->params.entries[i]);
    contents = pb_begin(b, 5);
    infer_put_contents(b, like->type, raw);
    pb_end(b, contents);
    pb_end(b, at);
}

static double number_at(const struct infer_tensor *t, const uint8_t *p)
{
    float f;
    double d;

    switch (t->type) {
    case DT_INT8: return (int8_t)p[0];
    case DT_BOOL:
    case DT_UINT8: return p[0];
    case DT_INT16: return (int16_t)load_le16(p);
    case DT_UINT16: return load_le16(p);
    case DT_INT32: return (int32_t)load_le32(p);
    case DT_UINT32: return load_le32(p);
    case DT_INT64: return (double)(int64_t)load_le64(p);
    case DT_UINT64: return (double)load_le64(p);
    case DT_FP16: return half_to_float(load_le16(p));
    case DT_BF16: return bfloat_to_float(load_le16(p));
    case DT_FP32: memcpy(&f, p, 4); return f;
    case DT_FP64: memcpy(&d, p, 8); return d;
    case DT_BYTES:
    case DT_UNKNOWN: break;
    }
    return 0;
}

static void number_put(const struct infer_tensor *t, uint8_t *p, double v)
{
    float f = (float)v;

    switch (t->type) {
    case DT_BOOL:
    case DT_INT8:
    case DT_UINT8: p[0] = (uint8_t)(int64_t)v; break;
    case DT_INT16:
    case DT_UINT16: store_le16(p, (uint16_t)(int64_t)v); break;
    case DT_INT32:
    case DT_UINT32: store_le32(p, (uint32_t)(int64_t)v); break;
    case DT_INT64:
    case DT_UINT64: store_le64(p, (uint64_t)(int64_t)v); break;
    case DT_FP16: store_le16(p, half_of_float(f)); break;
    case DT_BF16: store_le16(p, bfloat_of_float(f)); break;
    case DT_FP32: memcpy(p, &f, 4); break;
    case DT_FP64: memcpy(p, &v, 8); break;
    case DT_BYTES:
    case DT_UNKNOWN: break;
    }
}

/* to = to * times + from * factor + plus, element by element; RC_INVALID where they differ in size. */
static enum rc combine(const struct infer_tensor *t, struct buf *to, struct bytes from,
                       double times, double factor, double plus, struct err *e)
{
    size_t width = datatype_width(t->type);

    if (!width || from.n != to->n) return err_set(e, RC_INVALID, "tensors do not fit together");
    for (size_t at = 0; at + width <= to->n; at += width)
        number_put(t, to->p + at,
                   number_at(t, to->p + at) * times + number_at(t, from.p + at) * factor + plus);
    return RC_OK;
}

static enum rc linear(const struct infer_view *v, double times, double plus, struct buf *out,
                      struct err *e)
{
    AUTO(buf_fini) struct buf raw = {0};

    if (!v->tensors_n) return err_set(e, RC_INVALID, "an input tensor is wanted");
    if (infer_tensor_raw(&v->tensors[0], &raw, e)) return e->rc;
    if (combine(&v->tensors[0], &raw, buf_view(&raw), times, 0, plus, e)) return e->rc;
    put_tensor(out, &v->tensors[0], STR("OUTPUT"), buf_view(&raw));
    return RC_OK;
}

static enum rc two(const struct infer_tensor *a, const struct infer_tensor *b, double factor,
                   struct str name, struct buf *out, struct err *e)
{
    AUTO(buf_fini) struct buf x = {0};
    AUTO(buf_fini) struct buf y = {0};

    if (!a || !b) return err_set(e, RC_INVALID, "INPUT0 and INPUT1 are wanted");
    if (infer_tensor_raw(a, &x, e) || infer_tensor_raw(b, &y, e)) return e->rc;
    if (combine(a, &x, buf_view(&y), 1, factor, 0, e)) return e->rc;
    put_tensor(out, a, name, buf_view(&x));
    return RC_OK;
}

static enum rc sum(const struct infer_view *v, struct buf *out, struct err *e)
{
    AUTO(buf_fini) struct buf total = {0};

    if (!v->tensors_n) return err_set(e, RC_INVALID, "an input tensor is wanted");
    if (infer_tensor_raw(&v->tensors[0], &total, e)) return e->rc;
    for (size_t i = 1; i < v->tensors_n; i++) {
        AUTO(buf_fini) struct buf more = {0};

        if (infer_tensor_raw(&v->tensors[i], &more, e)) return e->rc;
        if (combine(&v->tensors[0], &total, buf_view(&more), 1, 1, 0, e)) return e->rc;
    }
    put_tensor(out, &v->tensors[0], STR("OUTPUT"), buf_view(&total));
    return RC_OK;
}

static enum rc same(const struct infer_tensor *t, struct str name, struct buf *out, struct err *e)
{
    AUTO(buf_fini) struct buf raw = {0};

    if (!t) return err_set(e, RC_INVALID, "a wanted tensor is missing");
    if (infer_tensor_raw(t, &raw, e)) return e->rc;
    put_tensor(out, t, name, buf_view(&raw));
    return RC_OK;
}

static enum rc conditional(const struct infer_view *v, struct buf *out, struct err *e)
{
    const struct infer_tensor *choice = infer_find(v, STR("CHOICE"));
    AUTO(buf_fini) struct buf raw = {0};
    bool first;

    if (!choice) return err_set(e, RC_INVALID, "CHOICE is wanted");
    if (infer_tensor_raw(choice, &raw, e)) return e->rc;
    first = raw.n < datatype_width(choice->type) || number_at(choice, raw.p) == 0;
    return same(infer_find(v, first ? STR("INPUT0") : STR("INPUT1")),
                first ? STR("OUTPUT0") : STR("OUTPUT1"), out, e);
}

static enum rc iris(const struct infer_view *v, struct buf *out, struct err *e)
{
    int64_t rows = v->tensors_n && v->tensors[0].shape_n > 1 ? v->tensors[0].shape[0] : 1,
            shape[2] = {rows, 1};
    struct infer_tensor like = {
        .datatype = STR("INT64"), .type = DT_INT64, .shape = shape, .shape_n = 2};
    AUTO(buf_fini) struct buf raw = {0};

    if (rows < 0 || rows > 1 << 20) return err_set(e, RC_INVALID, "too many rows");
    for (int64_t i = 0; i < rows; i++)
        store_le64(buf_grow(&raw, 8), 2);
    put_tensor(out, &like, STR("predict"), buf_view(&raw));
    return RC_OK;
}

/* Fields 4 and 5 of the request, then its raw contents under the response's number. */
static void copy_bytes(const struct infer_view *v, struct buf *out)
{
    for (size_t i = 0; i < v->params.n; i++)
        pb_put_bytes(out, 4, v->params.entries[i]);
    for (size_t i = 0; i < v->tensors_n; i++)
        buf_append(out, v->tensors[i].field);
    for (size_t i = 0; i < v->raws_n; i++)
        pb_put_bytes(out, 6, v->raws[i]);
}

/* An empty text that only says that it is there. */
static void put_mark(struct buf *out, const char *name)
{
    const int64_t shape[2] = {1, 1};
    const struct infer_tensor like = {.datatype = STR("BYTES"), .type = DT_BYTES, .shape = shape, .shape_n = 2};

    put_tensor(out, &like, str_of(name), bytes_of("\0\0\0", 4));
}

static enum rc counter(const struct infer_view *v, struct buf *out, struct err *e)
{
    AUTO(buf_fini) struct buf raw = {0};
    const int64_t shape[2] = {1, 1};
    struct infer_tensor like;

    if (!v->tensors_n || v->tensors[0].type != DT_INT32) return err_set(e, RC_INVALID, "an INT32 tensor is wanted");
    if (infer_tensor_raw(&v->tensors[0], &raw, e)) return e->rc;
    if (raw.n != 4) return err_set(e, RC_INVALID, "one number is wanted");
    like = v->tensors[0];
    like.shape = shape;
    like.shape_n = 2;
    store_le32(raw.p, load_le32(raw.p) + 1);
    put_tensor(out, &like, STR("output"), buf_view(&raw));
    put_mark(out, (int32_t)load_le32(raw.p) < 10 ? "continue" : "stop");
    return RC_OK;
}

static enum rc total(const struct infer_view *v, double *ret, struct err *e)
{
    AUTO(buf_fini) struct buf raw = {0};
    size_t width;

    if (!v->tensors_n) return err_set(e, RC_INVALID, "an input tensor is wanted");
    width = datatype_width(v->tensors[0].type);
    if (infer_tensor_raw(&v->tensors[0], &raw, e)) return e->rc;
    *ret = 0;
    for (size_t at = 0; width && at + width <= raw.n; at += width)
        *ret += number_at(&v->tensors[0], raw.p + at);
    return RC_OK;
}

static bool fixed_raw(struct str kind, struct buf *out)
{
    static const struct {
        const char *kind, *datatype;
        uint8_t raw[12];
        size_t n;
        int64_t shape;
    } all[] = {
        {"rawu8", "UINT8", {1, 2, 255}, 3, 3},
        {"rawi8", "INT8", {1, 0xfe, 0x80}, 3, 3},
        {"rawu16", "UINT16", {1, 0, 0xff, 0xff}, 4, 2},
        {"rawi16", "INT16", {1, 0, 0xfe, 0xff}, 4, 2},
        {"rawfp16", "FP16", {0x00, 0x3c, 0x00, 0xc0}, 4, 2},
        {"rawbool", "BOOL", {1, 0, 1}, 3, 3},
        {"rawbytes", "BYTES", {2, 0, 0, 0, 'h', 'i', 1, 0, 0, 0, '!'}, 11, 2},
    };

    for (size_t i = 0; i < countof(all); i++) {
        size_t at;

        if (!str_is(kind, all[i].kind)) continue;
        at = pb_begin(out, 5);
        pb_put_str(out, 1, STR("OUTPUT"));
        pb_put_str(out, 2, str_of(all[i].datatype));
        pb_put_bytes(out, 3, bytes_of(&(uint8_t){(uint8_t)all[i].shape}, 1));
        pb_end(out, at);
        pb_put_bytes(out, 6, bytes_of(all[i].raw, all[i].n));
        return true;
    }
    return false;
}

static enum rc echo(const struct infer_view *v, struct buf *out, struct err *e)
{
    for (size_t i = 0; i < v->tensors_n; i++)
        if (same(&v->tensors[i], v->tensors[i].name, out, e)) return e->rc;
    return RC_OK;
}

static enum rc choice(struct str model, const struct infer_view *v, struct buf *out, struct err *e)
{
    const struct infer_tensor *t = infer_find(v, STR("choice"));
    AUTO(buf_fini) struct buf raw = {0};

    if (!t) return err_set(e, RC_INVALID, "choice is wanted");
    if (infer_tensor_raw(t, &raw, e)) return e->rc;
    if (raw.n >= datatype_width(t->type) && number_at(t, raw.p) == (str_is(model, "choice-is-one") ? 1 : 2) &&
        echo(v, out, e))
        return e->rc;
    put_mark(out, "status");
    return RC_OK;
}

static enum rc tfsimple(const struct infer_view *v, struct buf *out, struct err *e)
{
    const struct infer_tensor *a = infer_find(v, STR("INPUT0")), *b = infer_find(v, STR("INPUT1"));

    for (size_t i = 0; i < v->tensors_n; i++)
        if (v->tensors[i].shape_n != 2 || v->tensors[i].shape[1] != 16)
            return err_set(e, RC_INVALID, STR_FMT ": the shape [-1,16] is expected", STR_ARG(v->tensors[i].name));
    return two(a, b, 1, STR("OUTPUT0"), out, e) ? e->rc : two(a, b, -1, STR("OUTPUT1"), out, e);
}

static void drift(struct buf *out)
{
    const int64_t shape[2] = {1, 1};
    const struct infer_tensor like = {.datatype = STR("INT64"), .type = DT_INT64, .shape = shape, .shape_n = 2};

    put_tensor(out, &like, STR("is_drift"), bytes_of("\0\0\0\0\0\0\0", 8));
}

static const char *const known[] = {"mul10",       "add10",   "sum",      "echo",    "raw",
                                    "conditional", "hdr",     "slow",     "iris",    "tfsimple",
                                    "tfsimple1",   "tfsimple2", "tfsimple3", "add20", "math",
                                    "iris2",       "iris3",   "id1",      "id2",     "join",  "drift",
                                    "identity",    "counter", "choice",   "outlier", "check",
                                    "error",       "unavail", "internal", "rawu8",   "rawi8",
                                    "rawu16",      "rawi16",  "rawfp16",  "rawbool", "rawbytes"};

static bool model_known(struct str name, struct str *ret_kind)
{
    struct str rest;

    str_cut(name, '-', ret_kind, &rest);
    for (size_t i = 0; i < countof(known); i++)
        if (str_is(*ret_kind, known[i])) return true;
    return false;
}

static void fail(struct answer *a, int code, const char *text)
{
    a->code = code;
    a->text = text;
}

static enum rc compute(struct str model, struct str kind, const struct infer_view *v, struct answer *a, struct err *e)
{
    struct buf *out = &a->message;
    double all = 0;

    if (str_is(kind, "outlier") || str_is(kind, "check")) {
        if (total(v, &all, e)) return e->rc;
        if (all > 100) return err_set(e, RC_INVALID, "the input adds up to more than 100");
    }
    if (str_is(kind, "mul10") || str_is(kind, "outlier") || str_is(kind, "check")) return linear(v, 10, 0, out, e);
    if (str_is(kind, "add10") || str_is(kind, "math")) return linear(v, 1, 10, out, e);
    if (str_is(kind, "add20")) return linear(v, 1, 20, out, e);
    if (str_is(kind, "counter")) return counter(v, out, e);
    if (str_is(kind, "choice")) return choice(model, v, out, e);
    if (str_is(kind, "identity")) a->delay_ms = 1;
    if (str_is(kind, "sum")) return sum(v, out, e);
    if (str_is(kind, "conditional")) return conditional(v, out, e);
    if (str_starts(kind, STR("iris"))) return iris(v, out, e);
    if (str_starts(kind, STR("tfsimple"))) return tfsimple(v, out, e);
    if (str_is(kind, "id1") || str_is(kind, "id2")) return same(infer_find(v, STR("INPUT1")), STR("OUTPUT1"), out, e);
    if (str_is(kind, "join")) return two(infer_find(v, STR("INPUT1")), infer_find(v, STR("INPUT2")), 1, STR("OUTPUT1"), out, e);
    if (str_is(kind, "drift")) {
        drift(out);
        return RC_OK;
    }
    if (str_is(kind, "slow")) a->delay_ms = SLOW_MS;
    if (str_is(kind, "hdr")) a->headers = true;
    return echo(v, out, e);
}

static void predict(struct str model, struct bytes request, struct arena *arena, struct answer *a,
                    struct err *e)
{
    struct infer_view v;
    struct str kind;

    if (!model_known(model, &kind))
        fail(a, GRPC_NOT_FOUND, "there is no such model");
    else if (infer_parse(request, INFER_REQUEST, arena, &v, e) || infer_validate(&v, e))
        fail(a, GRPC_INVALID_ARGUMENT, e->text);
    else if (str_is(kind, "error"))
        fail(a, GRPC_INVALID_ARGUMENT, "this model always fails");
    else if (str_is(kind, "unavail"))
        fail(a, GRPC_UNAVAILABLE, "this model is never there");
    else if (str_is(kind, "internal"))
        fail(a, GRPC_INTERNAL, "this model always breaks");
    else {
        pb_put_str(&a->message, 1, str_is(kind, "raw") ? STR("raw_1") : model);
        pb_put_str(&a->message, 2, STR("1"));
        pb_put_str(&a->message, 3, v.id);
        if (str_is(kind, "raw"))
            copy_bytes(&v, &a->message);
        else if (!fixed_raw(kind, &a->message) && compute(model, kind, &v, a, e))
            fail(a, str_is(kind, "outlier") || str_is(kind, "check") ? GRPC_INTERNAL : GRPC_INVALID_ARGUMENT, e->text);
    }
}

/* ---- Answers, at once or after a while ---- */

struct late {
    struct timer timer;
    struct toy *toy;
    struct exchange *x;
    struct answer a;
    struct json_wants wants;
};

static const struct header hdr_headers[] = {{STR("x-model-hdr"), STR("h1")},
                                            {STR("x-model-hdr"), STR("h2")},
                                            {STR("x-extra"), STR("same")}};
static const struct header hdr_trailers[] = {{STR("x-model-trailer"), STR("t1")}};

static int http_of(int code)
{
    switch (code) {
    case GRPC_INVALID_ARGUMENT: return 400;
    case GRPC_NOT_FOUND: return 404;
    case GRPC_UNAVAILABLE: return 503;
    default: return 500;
    }
}

static void answer_rest(struct exchange *x, struct answer *a, const struct json_wants *wants)
{
    struct header h[5] = {HEADER("content-type", STR("application/json"))};
    const struct json_style style = {.wants = wants};
    struct infer_view v;
    struct buf body = {0};
    size_t n = 1, json_bytes = 0;
    char length[24];
    struct err e;

    if (a->code) {
        buf_append_str(&body, STR("{\"error\":"));
        json_put_str(&body, str_of(a->text));
        buf_append_str(&body, STR("}"));
        exchange_respond(x, http_of(a->code), h, n, &body);
        return;
    }
    if (infer_parse(buf_view(&a->message), INFER_RESPONSE, &x->arena, &v, &e) ||
        infer_encode_json(&v, &style, &body, &json_bytes, &e)) {
        exchange_respond(x, 500, NULL, 0, NULL);
        return;
    }
    if (json_bytes < body.n) {
        h[0].value = STR("application/octet-stream");
        h[n++] = HEADER(
            "inference-header-content-length",
            ((struct str){length, (size_t)snprintf(length, sizeof length, "%zu", json_bytes)}));
    }
    for (size_t i = 0; a->headers && i < countof(hdr_headers); i++)
        h[n++] = hdr_headers[i];
    exchange_respond(x, 200, h, n, &body);
}

static void answer_grpc(struct exchange *x, struct answer *a)
{
    struct grpc_reply r = {.status = a->code, .message = str_of(a->text)};

    if (a->headers) {
        r.headers = hdr_headers;
        r.headers_n = countof(hdr_headers);
        r.trailers = hdr_trailers;
        r.trailers_n = countof(hdr_trailers);
    }
    exchange_respond_grpc(x, &r, &a->message);
}

static void answer(struct exchange *x, struct answer *a, const struct json_wants *wants)
{
    if (x->grpc)
        answer_grpc(x, a);
    else
        answer_rest(x, a, wants);
    buf_fini(&a->message);
}

static void late_fire(struct timer *t)
{
    struct late *l = container_of(t, struct late, timer);

    answer(l->x, &l->a, &l->wants);
    free(l);
}

static void late_gone(struct exchange *x)
{
    struct late *l = x->priv;

    timer_cancel(loop_timers(l->toy->loop), &l->timer);
    buf_fini(&l->a.message);
    free(l);
}

static void answer_later(struct toy *toy, struct exchange *x, struct answer *a,
                         const struct json_wants *wants)
{
    struct late *l = xnew(struct late);

    l->toy = toy;
    l->x = x;
    l->a = *a;
    l->wants = *wants;
    x->priv = l;
    x->gone = late_gone;
    loop_timer(toy->loop, &l->timer, a->delay_ms, late_fire);
}

/* ---- Requests ---- */

static void infer(struct toy *toy, struct exchange *x, struct str model, struct bytes request,
                  const struct json_wants *wants)
{
    struct answer a = {0};
    struct err e;

    predict(model, request, &x->arena, &a, &e);
    if (a.delay_ms && !a.code)
        answer_later(toy, x, &a, wants);
    else
        answer(x, &a, wants);
}

static void metadata(struct str model, struct buf *ret, bool json)
{
    const int64_t shape[] = {-1, -1};
    const struct str versions[] = {STR("1")};
    const struct tensor_metadata in = {
        .name = STR("INPUT"), .datatype = STR("FP32"), .shape = shape, .shape_n = 2};
    const struct tensor_metadata out = {
        .name = STR("OUTPUT"), .datatype = STR("FP32"), .shape = shape, .shape_n = 2};
    const struct model_metadata m = {.name = model,
                                     .platform = STR("toy"),
                                     .versions = versions,
                                     .versions_n = 1,
                                     .inputs = &in,
                                     .inputs_n = 1,
                                     .outputs = &out,
                                     .outputs_n = 1};

    if (json)
        model_metadata_encode_json(&m, ret);
    else
        model_metadata_encode(&m, ret);
}

static void grpc_request(struct toy *toy, struct exchange *x, struct str method)
{
    struct grpc_reply r = {.status = GRPC_OK};
    const struct json_wants none = {0};
    struct model_ref ref = {0};
    struct buf out = {0};
    struct str kind;
    struct err e;

    if (str_is(method, "ModelInfer")) {
        struct infer_view v;

        if (infer_parse(buf_view(&x->body), INFER_REQUEST, &x->arena, &v, &e)) {
            r = (struct grpc_reply){.status = GRPC_INVALID_ARGUMENT, .message = str_of(e.text)};
        } else {
            infer(toy, x, v.model_name, buf_view(&x->body), &none);
            return;
        }
    } else if (str_is(method, "ServerLive") || str_is(method, "ServerReady")) {
        flag_encode(true, &out);
    } else if (str_is(method, "ModelReady") || str_is(method, "ModelMetadata")) {
        if (model_ref_decode(buf_view(&x->body), &ref, &e))
            r = (struct grpc_reply){.status = GRPC_INVALID_ARGUMENT, .message = str_of(e.text)};
        else if (!model_known(ref.name, &kind))
            r = (struct grpc_reply){.status = GRPC_NOT_FOUND,
                                    .message = STR("there is no such model")};
        else if (str_is(method, "ModelReady"))
            flag_encode(true, &out);
        else
            metadata(ref.name, &out, false);
    } else {
        r = (struct grpc_reply){.status = GRPC_UNIMPLEMENTED, .message = STR("unknown method")};
    }
    exchange_respond_grpc(x, &r, &out);
}

static void rest_infer(struct toy *toy, struct exchange *x, struct str model)
{
    struct buf request = {0};
    struct json_wants wants = {0};
    struct answer a = {0};
    struct str text;
    int64_t json_bytes = (int64_t)x->body.n;
    struct err e;

    if (exchange_header(x, STR("inference-header-content-length"), &text) &&
        (!str_to_i64(text, &json_bytes) || json_bytes < 0))
        json_bytes = 0;
    if (infer_decode_json(buf_view(&x->body), MIN((size_t)json_bytes, x->body.n), INFER_REQUEST,
                          &x->arena, &request, &wants, &e)) {
        fail(&a, GRPC_INVALID_ARGUMENT, e.text);
        answer(x, &a, &wants);
    } else {
        infer(toy, x, model, buf_view(&request), &wants);
    }
    buf_fini(&request);
}

static void rest_request(struct toy *toy, struct exchange *x)
{
    struct str rest = x->path, model, kind, version;
    struct buf body = {0};
    bool there;

    if (str_starts(rest, STR("/v2/health/"))) {
        exchange_respond(x, 200, NULL, 0, NULL);
        return;
    }
    if (!str_starts(rest, STR("/v2/models/"))) {
        exchange_respond(x, 404, NULL, 0, NULL);
        return;
    }
    str_cut((struct str){rest.p + 11, rest.n - 11}, '/', &model, &rest);
    if (str_starts(rest, STR("versions/")))
        str_cut((struct str){rest.p + 9, rest.n - 9}, '/', &version, &rest);
    there = model_known(model, &kind);
    if (str_is(rest, "infer")) {
        rest_infer(toy, x, model);
    } else if (!there || rest.n == 0) {
        if (there) metadata(model, &body, true);
        exchange_respond(x, there ? 200 : 404,
                         (struct header[]){HEADER("content-type", STR("application/json"))}, 1,
                         &body);
    } else {
        exchange_respond(x, str_is(rest, "ready") ? 200 : 404, NULL, 0, NULL);
    }
}

static void on_request(void *ctx, struct exchange *x)
{
    struct str service = STR("/inference.GRPCInferenceService/");

    if (!x->grpc)
        rest_request(ctx, x);
    else if (str_starts(x->path, service))
        grpc_request(ctx, x, (struct str){x->path.p + service.n, x->path.n - service.n});
    else
        exchange_respond_grpc(
            x,
            &(struct grpc_reply){.status = GRPC_UNIMPLEMENTED, .message = STR("unknown service")},
            NULL);
}

/* ---- Life ---- */

static void on_accept(void *ctx, int fd, const struct addr *peer)
{
    struct toy *toy = ctx;

    http_server_accept(toy->server, fd, peer, NULL);
}

static void on_signal(struct watch *w, uint32_t events)
{
    (void)events;
    loop_stop(container_of(w, struct toy, signals)->loop);
}

int main(int argc, char **argv)
{
    struct toy toy = {0};
    struct tcp *tcp;
    char text[ADDR_TEXT_MAX];
    struct err e = {0};
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    if (loop_new(&clock_real, &toy.loop, &e)) goto fail;
    tcp = tcp_new(toy.loop);
    toy.server = http_server_new(
        tcp, &(struct http_options){.handler = {.request = on_request, .ctx = &toy}});
    if (listener_open(
            tcp,
            &(struct listener_options){.listen = argc > 1 ? str_of(argv[1]) : STR("127.0.0.1:0"),
                                       .accepted = on_accept,
                                       .ctx = &toy},
            &toy.listener, &e))
        goto fail;
    if (loop_watch(toy.loop, &toy.signals, signalfd(-1, &set, SFD_CLOEXEC), EPOLLIN, on_signal, &e))
        goto fail;
    printf("ready infer=" STR_FMT " pid=%d\n",
           STR_ARG(addr_text(listener_addr(toy.listener), text)), getpid());
    fflush(stdout);
    loop_run(toy.loop);
    listener_close(toy.listener);
    http_server_free(toy.server);
    tcp_free(tcp);
    loop_unwatch(toy.loop, &toy.signals);
    loop_free(toy.loop);
    return 0;
fail:
    fprintf(stderr, "toy_server: %s\n", e.text);
    return 1;
}
