/* V2 JSON to protobuf.
 *
 * The body is read once: headers of tensors are remembered, data goes to one buffer as raw. Only
 * data that comes before what is needed to read it (datatype, and content_type for BYTES) is
 * skipped first and read at the end of its tensor. What form the contents take (typed or raw) is
 * known at the end, so the message is written then, in one piece.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "oip/contents.h"
#include "oip/json.h"
#include "oip/json_data.h"
#include "oip/number.h"
#include "oip/pb.h"
#include <inttypes.h>

struct tensor_in {
    struct str name, datatype;
    enum datatype type;
    unsigned seen;              /* 1 << enum key */
    size_t shape_at, shape_n;   /* in decoder.shapes */
    size_t params_at, params_n; /* bytes of decoder.tensor_params */
    size_t raw_at, raw_n;       /* bytes of decoder.raw, or of the tail when binary */
    uint64_t wanted;            /* elements, by the shape */
    const char *data;           /* skipped data, to be read later */
    bool has_data, base64, binary;
    int64_t binary_size;
};

struct decoder {
    struct json_reader j;
    enum infer_kind kind;
    struct bytes tail;
    unsigned seen;
    struct str model_name, model_version, id;
    struct buf tensors; /* of struct tensor_in */
    struct buf shapes;  /* of int64_t */
    struct buf wants;   /* of struct want_in */
    struct buf raw, params, tensor_params, requested;
    bool binary_output;
};

static void decoder_fini(struct decoder *d)
{
    struct buf *bufs[] = {&d->tensors,       &d->shapes,    &d->raw,  &d->params,
                          &d->tensor_params, &d->requested, &d->wants};

    for (size_t i = 0; i < countof(bufs); i++)
        buf_fini(bufs[i]);
}

/* ---- keys ---- */

enum key {
    KEY_NAME,
    KEY_SHAPE,
    KEY_DATATYPE,
    KEY_PARAMETERS,
    KEY_DATA,
    KEY_ID,
    KEY_INPUTS,
    KEY_OUTPUTS,
    KEY_MODEL_NAME,
    KEY_MODEL_VERSION,
    KEY_OTHER
};

static enum key key_of(struct str k, enum key from, enum key to)
{
    static const char *const names[] = {"name",       "shape",        "datatype", "parameters",
                                        "data",       "id",           "inputs",   "outputs",
                                        "model_name", "model_version"};

    for (size_t i = from; i <= to; i++)
        if (str_eq_nocase(k, str_of(names[i]))) return (enum key)i;
    return KEY_OTHER;
}

static bool seen_once(struct json_reader *j, unsigned *seen, enum key k, struct str text)
{
    if (k == KEY_OTHER) return true;
    if (*seen & 1u << k)
        return json_read_fail(j, RC_INVALID, "\"" NAME_FMT "\" twice", NAME_ARG(text));
    *seen |= 1u << k;
    return true;
}

static bool take_null(struct json_reader *j)
{
    return json_read_peek(j) == 'n' && json_read_word(j, "null");
}

static bool string_or_null(struct json_reader *j, struct str *ret)
{
    return take_null(j) || json_read_string(j, ret);
}

/* ---- parameters ---- */

/* Parameters that are about the JSON form itself; they end here. */
struct consumed {
    int64_t binary_size;
    bool has_binary_size, has_binary, binary, text, base64;
};

static bool param_number(struct json_reader *j, struct infer_param *ret)
{
    struct decimal d;
    const char *after = decimal_read(j->p, j->end, &d);
    uint64_t v;

    if (!after)
        return json_read_fail(j, RC_INVALID,
                              "a parameter must be a string, a number, true or false");
    if (decimal_u64(&d, &v) || d.exponent >= 0) {
        if (!decimal_u64(&d, &v) || v > (uint64_t)INT64_MAX + d.negative)
            return json_read_fail(j, RC_INVALID, "a parameter does not fit in 64 bits");
        *ret =
            (struct infer_param){.kind = INFER_PARAM_INT, .i = (int64_t)(d.negative ? 0 - v : v)};
    } else {
        *ret = (struct infer_param){.kind = INFER_PARAM_STR, .s = d.text};
    }
    j->p = after;
    return true;
}

static bool param_value(struct decoder *d, struct infer_param *ret)
{
    struct json_reader *j = &d->j;
    char c = json_read_peek(j);
    bool yes = json_read_word(j, "true");

    *ret = (struct infer_param){0};
    if (c == '"') {
        ret->kind = INFER_PARAM_STR;
        return json_read_string(j, &ret->s);
    }
    if (yes || json_read_word(j, "false")) {
        *ret = (struct infer_param){.kind = INFER_PARAM_BOOL, .b = yes};
        return true;
    }
    if (d->kind == INFER_RESPONSE && take_null(j)) return true;
    if (d->kind == INFER_RESPONSE && (c == '{' || c == '[')) {
        ret->kind = INFER_PARAM_STR;
        return json_read_skip(j, &ret->s);
    }
    return param_number(j, ret);
}

/* True when the parameter goes no further. */
static bool consume(enum key owner, struct str key, const struct infer_param *v, struct consumed *c)
{
    if (str_is(key, "content_type") && v->kind == INFER_PARAM_STR) {
        c->text = str_is(v->s, "str");
        c->base64 = str_is(v->s, "base64");
    }
    if (owner == KEY_DATA && str_is(key, "binary_data_size")) {
        c->has_binary_size = true;
        c->binary_size = v->kind == INFER_PARAM_INT ? v->i : -1;
        return true;
    }
    if (!(owner == KEY_NAME && str_is(key, "binary_data")) &&
        !(owner == KEY_ID && str_is(key, "binary_data_output")))
        return false;
    c->has_binary = true;
    c->binary = v->kind == INFER_PARAM_BOOL && v->b;
    return true;
}

/* `owner`: KEY_ID the message, KEY_DATA a tensor, KEY_NAME a requested output. Appends map entries
 * as field `number`. */
static bool read_params(struct decoder *d, enum key owner, uint32_t number, struct buf *to,
                        struct consumed *c)
{
    bool first = true;
    size_t n = 0;

    if (take_null(&d->j)) return true;
    for (struct str key; json_read_object(&d->j, &first, &key);) {
        struct infer_param v;

        if (!param_value(d, &v)) {
            err_in(d->j.e, "parameters \"" NAME_FMT "\"", NAME_ARG(key));
            return false;
        }
        if (++n > INFER_PARAMS_MAX)
            return json_read_fail(&d->j, RC_INVALID, "more than %d parameters", INFER_PARAMS_MAX);
        if (v.kind != INFER_PARAM_NONE && !consume(owner, key, &v, c))
            infer_put_param(to, number, key, &v);
    }
    return !d->j.failed;
}

/* ---- tensors ---- */

static struct tensor_in *tensor_at(struct decoder *d, size_t i)
{
    return (struct tensor_in *)(void *)d->tensors.p + i;
}

static size_t tensors_n(const struct decoder *d)
{
    return d->tensors.n / sizeof(struct tensor_in);
}

static const int64_t *shape_of(const struct decoder *d, const struct tensor_in *t)
{
    return t->shape_n ? (const int64_t *)(const void *)d->shapes.p + t->shape_at : NULL;
}

static bool read_shape(struct decoder *d, struct tensor_in *t)
{
    struct json_reader *j = &d->j;
    struct infer_tensor v = {0};
    bool first = true;

    t->shape_at = d->shapes.n / sizeof(int64_t);
    while (json_read_array(j, &first)) {
        struct decimal n;
        const char *after = (json_read_space(j), decimal_read(j->p, j->end, &n));
        uint64_t size;

        if (!after || !decimal_u64(&n, &size) || size > INT64_MAX || (n.negative && size))
            return json_read_fail(j, RC_INVALID, "shape[%zu] is not a size", t->shape_n);
        if (++t->shape_n > INFER_DIMS_MAX)
            return json_read_fail(j, RC_INVALID, "more than %d dimensions", INFER_DIMS_MAX);
        j->p = after;
        store_le64(buf_grow(&d->shapes, 8), size);
    }
    v.shape = shape_of(d, t);
    v.shape_n = t->shape_n;
    if (j->failed || infer_tensor_count(&v, &t->wanted)) return !j->failed;
    return json_read_fail(j, RC_INVALID, "the shape has more elements than can be counted");
}

static bool read_data(struct decoder *d, struct tensor_in *t)
{
    struct json_data what = {
        .type = t->type, .base64 = t->base64, .null_is_nan = d->kind == INFER_RESPONSE};
    uint64_t count = 0;

    what.expected = t->wanted;
    t->raw_at = d->raw.n;
    if (!json_data_read(&d->j, &what, &d->raw, &count)) return false;
    t->raw_n = d->raw.n - t->raw_at;
    t->has_data = true;
    if (count == t->wanted) return true;
    return json_read_fail(&d->j, RC_INVALID,
                          "the shape wants %" PRIu64 " elements, data has %" PRIu64, t->wanted,
                          count);
}

static bool data_is_readable(const struct tensor_in *t)
{
    if (!(t->seen & 1u << KEY_DATATYPE) || !(t->seen & 1u << KEY_SHAPE)) return false;
    return t->type != DT_BYTES || (t->seen & 1u << KEY_PARAMETERS);
}

static bool read_tensor_key(struct decoder *d, struct tensor_in *t, enum key k)
{
    struct json_reader *j = &d->j;
    struct consumed c = {0};

    switch ((int)k) {
    case KEY_NAME: return json_read_string(j, &t->name);
    case KEY_SHAPE: return read_shape(d, t);
    case KEY_DATATYPE:
        if (!json_read_string(j, &t->datatype)) return false;
        t->type = datatype_of(t->datatype);
        return t->type != DT_UNKNOWN ||
               json_read_fail(j, RC_INVALID, "unknown datatype \"" NAME_FMT "\"",
                              NAME_ARG(t->datatype));
    case KEY_PARAMETERS:
        t->params_at = d->tensor_params.n;
        if (!read_params(d, KEY_DATA, 4, &d->tensor_params, &c)) return false;
        t->params_n = d->tensor_params.n - t->params_at;
        t->base64 = c.base64;
        t->binary = c.has_binary_size;
        t->binary_size = c.binary_size;
        return true;
    case KEY_DATA:
        if (take_null(j)) return true;
        if (data_is_readable(t)) return read_data(d, t);
        t->data = (json_read_space(j), j->p);
        return json_read_skip(j, NULL);
    default: return json_read_skip(j, NULL);
    }
}

/* After the closing bracket: nothing essential is missing, skipped data is read now. */
static bool finish_tensor(struct decoder *d, struct tensor_in *t)
{
    struct json_reader *j = &d->j;
    const char *after = j->p;

    if (!t->name.n) return json_read_fail(j, RC_INVALID, "the tensor has no name");
    if (!(t->seen & 1u << KEY_DATATYPE))
        return json_read_fail(j, RC_INVALID, "the tensor has no datatype");
    if (!(t->seen & 1u << KEY_SHAPE))
        return json_read_fail(j, RC_INVALID, "the tensor has no shape");
    if (t->data) {
        j->p = t->data;
        if (!read_data(d, t)) return false;
        j->p = after;
    }
    if (t->binary && t->has_data)
        return json_read_fail(j, RC_INVALID, "the tensor has both data and binary_data_size");
    if (t->binary && t->binary_size < 0)
        return json_read_fail(j, RC_INVALID, "binary_data_size is not a size");
    if (t->binary || t->has_data || !t->wanted) return true;
    return json_read_fail(j, RC_INVALID, "the tensor has no data");
}

static bool read_tensor(struct decoder *d)
{
    struct tensor_in t = {0};
    bool first = true;

    for (struct str key; json_read_object(&d->j, &first, &key);) {
        enum key k = key_of(key, KEY_NAME, KEY_DATA);

        if (!seen_once(&d->j, &t.seen, k, key) || !read_tensor_key(d, &t, k)) break;
    }
    if (!d->j.failed && finish_tensor(d, &t)) {
        buf_append(&d->tensors, bytes_of(&t, sizeof t));
        return true;
    }
    if (t.name.n)
        err_in(d->j.e, "%s[%zu] \"" NAME_FMT "\"", d->kind == INFER_REQUEST ? "inputs" : "outputs",
               tensors_n(d), NAME_ARG(t.name));
    else
        err_in(d->j.e, "%s[%zu]", d->kind == INFER_REQUEST ? "inputs" : "outputs", tensors_n(d));
    return false;
}

static bool read_tensors(struct decoder *d)
{
    bool first = true;

    while (json_read_array(&d->j, &first)) {
        if (tensors_n(d) == INFER_TENSORS_MAX)
            return json_read_fail(&d->j, RC_INVALID, "more than %d tensors", INFER_TENSORS_MAX);
        if (!read_tensor(d)) return false;
    }
    return !d->j.failed;
}

/* ---- requested outputs ---- */

struct want_in {
    struct json_want want;
    bool has_binary;
}; /* without: what the message says, known at its end */

static bool read_requested_one(struct decoder *d)
{
    struct want_in w = {0};
    struct consumed c = {0};
    bool first = true;
    unsigned seen = 0;
    size_t at = pb_begin(&d->requested, 6);

    for (struct str key; json_read_object(&d->j, &first, &key);) {
        enum key k = key_of(key, KEY_NAME, KEY_PARAMETERS);

        if (!seen_once(&d->j, &seen, k, key)) return false;
        if (k == KEY_NAME && json_read_string(&d->j, &w.want.name))
            pb_put_str(&d->requested, 1, w.want.name);
        else if (k == KEY_PARAMETERS)
            read_params(d, KEY_NAME, 2, &d->requested, &c);
        else if (k != KEY_NAME)
            json_read_skip(&d->j, NULL);
    }
    if (d->j.failed) return false;
    if (!w.want.name.n)
        return json_read_fail(&d->j, RC_INVALID, "the requested output has no name");
    pb_end(&d->requested, at);
    w.has_binary = c.has_binary;
    w.want.binary = c.binary;
    w.want.text = c.text;
    buf_append(&d->wants, bytes_of(&w, sizeof w));
    return true;
}

static bool read_requested(struct decoder *d)
{
    bool first = true;

    while (json_read_array(&d->j, &first)) {
        size_t n = d->wants.n / sizeof(struct want_in);

        if (n == INFER_TENSORS_MAX)
            return json_read_fail(&d->j, RC_INVALID, "more than %d outputs", INFER_TENSORS_MAX);
        if (read_requested_one(d)) continue;
        err_in(d->j.e, "outputs[%zu]", n);
        return false;
    }
    return !d->j.failed;
}

/* ---- the message ---- */

static bool read_message_key(struct decoder *d, enum key k)
{
    struct consumed c = {0};

    switch ((int)k) {
    case KEY_ID: return string_or_null(&d->j, &d->id);
    case KEY_MODEL_NAME:
        return d->kind == INFER_RESPONSE ? string_or_null(&d->j, &d->model_name)
                                         : json_read_skip(&d->j, NULL);
    case KEY_MODEL_VERSION:
        return d->kind == INFER_RESPONSE ? string_or_null(&d->j, &d->model_version)
                                         : json_read_skip(&d->j, NULL);
    case KEY_PARAMETERS:
        if (!read_params(d, KEY_ID, 4, &d->params, &c)) return false;
        d->binary_output = c.binary;
        return true;
    case KEY_INPUTS:
        if (d->kind == INFER_RESPONSE) return json_read_skip(&d->j, NULL);
        return read_tensors(d);
    case KEY_OUTPUTS:
        if (d->kind == INFER_RESPONSE) return read_tensors(d);
        return take_null(&d->j) || read_requested(d);
    default: return json_read_skip(&d->j, NULL);
    }
}

static bool read_message(struct decoder *d)
{
    bool first = true;

    if (json_read_peek(&d->j) == 0 && d->j.p == d->j.end)
        return json_read_fail(&d->j, RC_INVALID, "the body is empty, a JSON object is wanted");
    for (struct str key; json_read_object(&d->j, &first, &key);) {
        enum key k = key_of(key, KEY_PARAMETERS, KEY_MODEL_VERSION);

        if (k == KEY_DATA) k = KEY_OTHER;
        if (!seen_once(&d->j, &d->seen, k, key) || !read_message_key(d, k)) return false;
    }
    if (d->j.failed) return false;
    if (json_read_peek(&d->j) || d->j.p != d->j.end)
        return json_read_fail(&d->j, RC_INVALID, "something follows the JSON object");
    if (d->kind == INFER_REQUEST && !(d->seen & 1u << KEY_INPUTS))
        return json_read_fail(&d->j, RC_INVALID, "the request has no \"inputs\"");
    if (d->kind == INFER_RESPONSE && !(d->seen & (1u << KEY_OUTPUTS | 1u << KEY_MODEL_NAME)))
        return json_read_fail(&d->j, RC_INVALID,
                              "the response has neither \"outputs\" nor \"model_name\"");
    return true;
}

/* ---- the binary tail ---- */

static bool cut_tail(struct decoder *d)
{
    struct err *e = d->j.e;
    size_t at = 0;

    for (size_t i = 0; i < tensors_n(d); i++) {
        struct tensor_in *t = tensor_at(d, i);

        if (!t->binary) continue;
        if ((uint64_t)t->binary_size > d->tail.n - at) {
            err_set(e, RC_INVALID,
                    "tensor \"" NAME_FMT "\": binary_data_size is %" PRId64 ", %zu bytes are left",
                    NAME_ARG(t->name), t->binary_size, d->tail.n - at);
            return false;
        }
        t->raw_at = at;
        t->raw_n = (size_t)t->binary_size;
        at += t->raw_n;
        if (!raw_check(t->type, t->wanted, bytes_sub(d->tail, t->raw_at, t->raw_n), e)) continue;
        err_in(e, "tensor \"" NAME_FMT "\": binary data", NAME_ARG(t->name));
        return false;
    }
    if (at == d->tail.n) return true;
    err_set(e, RC_INVALID, "%zu bytes of binary data belong to no tensor", d->tail.n - at);
    return false;
}

/* ---- writing ---- */

static struct bytes raw_of(const struct decoder *d, const struct tensor_in *t)
{
    return bytes_sub(t->binary ? d->tail : buf_view(&d->raw), t->raw_at, t->raw_n);
}

static bool wants_raw(struct decoder *d)
{
    for (size_t i = 0; i < tensors_n(d); i++)
        if (tensor_at(d, i)->binary || tensor_at(d, i)->type == DT_BF16) return true;
    return false;
}

/* Size of the contents body infer_put_contents() will write, to spare large tensors a move. 0: not
 * known so simply. */
static size_t contents_bytes(enum datatype type, size_t raw_n)
{
    if ((type != DT_FP32 && type != DT_FP64) || !raw_n) return 0;
    return 1 + pb_varint_size(raw_n) + raw_n;
}

static void put_tensor(struct decoder *d, const struct tensor_in *t, bool raw, struct buf *head,
                       struct buf *ret)
{
    struct bytes data = raw_of(d, t);
    size_t n = raw ? 0 : contents_bytes(t->type, data.n), in, out;

    buf_clear(head);
    pb_put_str(head, 1, t->name);
    pb_put_str(head, 2, t->datatype);
    if (t->shape_n) {
        in = pb_begin(head, 3);
        for (size_t i = 0; i < t->shape_n; i++)
            pb_put_varint(head, (uint64_t)shape_of(d, t)[i]);
        pb_end(head, in);
    }
    buf_append(head, bytes_sub(buf_view(&d->tensor_params), t->params_at, t->params_n));
    if (n) {
        pb_put_len(ret, 5, head->n + 1 + pb_varint_size(n) + n);
        buf_append(ret, buf_view(head));
        pb_put_len(ret, 5, n);
        infer_put_contents(ret, t->type, data);
        return;
    }
    out = pb_begin(ret, 5);
    buf_append(ret, buf_view(head));
    if (!raw && data.n) {
        in = pb_begin(ret, 5);
        infer_put_contents(ret, t->type, data);
        pb_end(ret, in);
    }
    pb_end(ret, out);
}

static void put_message(struct decoder *d, struct buf *ret)
{
    AUTO(buf_fini) struct buf head = {0};
    bool raw = wants_raw(d);

    buf_reserve(ret, d->raw.n + d->tail.n + d->params.n + d->requested.n + tensors_n(d) * 64 + 64);
    pb_put_str(ret, 1, d->model_name);
    pb_put_str(ret, 2, d->model_version);
    pb_put_str(ret, 3, d->id);
    buf_append(ret, buf_view(&d->params));
    for (size_t i = 0; i < tensors_n(d); i++)
        put_tensor(d, tensor_at(d, i), raw, &head, ret);
    buf_append(ret, buf_view(&d->requested));
    for (size_t i = 0; raw && i < tensors_n(d); i++)
        pb_put_bytes(ret, infer_raw_field(d->kind), raw_of(d, tensor_at(d, i)));
}

static enum rc put_wants(struct decoder *d, struct arena *a, struct json_wants *ret, struct err *e)
{
    size_t n = d->wants.n / sizeof(struct want_in);
    const struct want_in *in = (const struct want_in *)(const void *)d->wants.p;
    struct json_want *list = arena_array(a, struct json_want, n);

    if (!list) return err_set(e, RC_TOO_LARGE, "outputs above the memory limit of a request");
    for (size_t i = 0; i < n; i++) {
        list[i] = in[i].want;
        if (!in[i].has_binary) list[i].binary = d->binary_output;
    }
    *ret = (struct json_wants){.binary = d->binary_output, .list = list, .n = n};
    return RC_OK;
}

enum rc infer_decode_json(struct bytes body, size_t json_bytes, enum infer_kind kind,
                          struct arena *a, struct buf *ret, struct json_wants *ret_wants,
                          struct err *e)
{
    AUTO(decoder_fini) struct decoder d = {.kind = kind};

    if (json_bytes > body.n)
        return err_set(e, RC_INVALID,
                       "Inference-Header-Content-Length is %zu, the body has %zu bytes", json_bytes,
                       body.n);
    d.j = (struct json_reader){
        .start = (const char *)body.p, .p = (const char *)body.p, .arena = a, .e = e};
    d.j.end = json_bytes ? d.j.p + json_bytes : d.j.p;
    d.tail =
        json_bytes < body.n ? bytes_sub(body, json_bytes, body.n - json_bytes) : (struct bytes){0};
    if (!read_message(&d) || !cut_tail(&d)) return e->rc;
    if (ret_wants && put_wants(&d, a, ret_wants, e)) return e->rc;
    put_message(&d, ret);
    return RC_OK;
}
