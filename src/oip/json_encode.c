/* Protobuf to V2 JSON. Tensor data is printed from raw memory, straight into the answer; only typed
 * integers and strings are brought into that form first.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/base64.h"
#include "oip/contents.h"
#include "oip/json.h"
#include "oip/number.h"
#include "oip/pb.h"
#include <math.h>

enum {
    ELEMENT_TEXT_MAX = 34,
    CHUNK = 512
}; /* a number and its comma; elements between two reservations */

void json_put_str(struct buf *b, struct str s)
{
    static const char names[] = "btn?fr"; /* 8 to 13 */
    size_t from = 0;
    bool valid = utf8_valid(s);

    buf_reserve(b, s.n + 2);
    buf_append_byte(b, '"');
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = (uint8_t)s.p[i];

        if (c >= 0x20 && c != '"' && c != '\\' && (c < 128 || valid)) continue;
        if (i > from) buf_append(b, bytes_of(s.p + from, i - from));
        from = i + 1;
        if (c > 127)
            buf_append_str(b, STR("\xef\xbf\xbd"));
        else if (c == '"' || c == '\\')
            buf_printf(b, "\\%c", c);
        else if (c >= 8 && c <= 13 && c != 11)
            buf_printf(b, "\\%c", names[c - 8]);
        else
            buf_printf(b, "\\u%04x", c);
    }
    if (s.n > from) buf_append(b, bytes_of(s.p + from, s.n - from));
    buf_append_byte(b, '"');
}

/* ---- elements ---- */

static char *signed_text(int64_t v, char *p)
{
    if (v < 0) *p++ = '-';
    return u64_text(v < 0 ? 0 - (uint64_t)v : (uint64_t)v, p);
}

static char *word_text(const char *word, char *p)
{
    size_t n = strlen(word);

    memcpy(p, word, n);
    return p + n;
}

static char *special_text(double v, char *p)
{
    return word_text(isnan(v) ? "\"NaN\"" : v > 0 ? "\"Infinity\"" : "\"-Infinity\"", p);
}

static char *half_text(enum datatype t, uint16_t h, char *p)
{
    double v = (double)(t == DT_FP16 ? half_to_float(h) : bfloat_to_float(h));

    return isfinite(v) ? p + fp64_text(v, p) : special_text(v, p);
}

static char *element_text(enum datatype t, const uint8_t *at, char *p)
{
    double d;
    float f;

    switch (t) {
    case DT_BOOL: return word_text(*at ? "true" : "false", p);
    case DT_UINT8: return u64_text(*at, p);
    case DT_UINT16: return u64_text(load_le16(at), p);
    case DT_UINT32: return u64_text(load_le32(at), p);
    case DT_UINT64: return u64_text(load_le64(at), p);
    case DT_INT8: return signed_text((int8_t)*at, p);
    case DT_INT16: return signed_text((int16_t)load_le16(at), p);
    case DT_INT32: return signed_text((int32_t)load_le32(at), p);
    case DT_INT64: return signed_text((int64_t)load_le64(at), p);
    case DT_FP32:
        memcpy(&f, at, 4);
        return isfinite(f) ? p + fp32_text(f, p) : special_text((double)f, p);
    case DT_FP64: memcpy(&d, at, 8); return isfinite(d) ? p + fp64_text(d, p) : special_text(d, p);
    case DT_FP16:
    case DT_BF16: return half_text(t, load_le16(at), p);
    case DT_UNKNOWN:
    case DT_BYTES: break;
    }
    return p;
}

static void put_numbers(struct buf *b, enum datatype t, struct bytes raw)
{
    size_t width = datatype_width(t), n = raw.n / width;

    for (size_t i = 0; i < n;) {
        size_t stop = MIN(i + CHUNK, n);
        char *p;

        buf_reserve(b, (stop - i) * ELEMENT_TEXT_MAX);
        p = (char *)b->p + b->n;
        for (; i < stop; i++) {
            if (i) *p++ = ',';
            p = element_text(t, raw.p + i * width, p);
        }
        b->n = (size_t)((uint8_t *)p - b->p);
    }
}

/* Calls for every element of raw BYTES, whose lengths were checked. */
static bool next_bytes(struct bytes raw, size_t *at, struct bytes *ret)
{
    size_t n;

    if (raw.n - *at < 4) return false;
    n = load_le32(raw.p + *at);
    *ret = bytes_sub(raw, *at + 4, n);
    *at += 4 + n;
    return true;
}

static bool all_text(struct bytes raw)
{
    size_t at = 0;
    struct bytes one;

    while (next_bytes(raw, &at, &one))
        if (!utf8_valid(bytes_str(one))) return false;
    return true;
}

static void put_strings(struct buf *b, struct bytes raw, bool text)
{
    size_t at = 0;
    struct bytes one;

    for (bool first = true; next_bytes(raw, &at, &one); first = false) {
        if (!first) buf_append_byte(b, ',');
        if (text) {
            json_put_str(b, bytes_str(one));
            continue;
        }
        buf_append_byte(b, '"');
        base64_encode(one, b);
        buf_append_byte(b, '"');
    }
}

/* ---- parameters ---- */

struct named {
    struct str key;
    struct infer_param v;
};

static int by_key(const void *a, const void *b)
{
    return str_cmp(((const struct named *)a)->key, ((const struct named *)b)->key);
}

static void put_param(struct buf *b, const struct named *p)
{
    char text[ELEMENT_TEXT_MAX], *end = text;

    json_put_str(b, p->key);
    buf_append_byte(b, ':');
    switch (p->v.kind) {
    case INFER_PARAM_NONE: end = word_text("null", text); break;
    case INFER_PARAM_BOOL: end = word_text(p->v.b ? "true" : "false", text); break;
    case INFER_PARAM_INT: end = signed_text(p->v.i, text); break;
    case INFER_PARAM_UINT: end = u64_text(p->v.u, text); break;
    case INFER_PARAM_DOUBLE:
        end = isfinite(p->v.d) ? text + fp64_text(p->v.d, text) : special_text(p->v.d, text);
        break;
    case INFER_PARAM_STR: json_put_str(b, p->v.s); break;
    }
    buf_append(b, bytes_of(text, (size_t)(end - text)));
}

/* The comma before a member that is not the first of its object. */
static void put_comma(struct buf *b)
{
    if (b->p[b->n - 1] != '{') buf_append_byte(b, ',');
}

/* "parameters":{…} sorted by name, the last of a name winning; nothing when there are none. `extra`
 * may add one and takes the place of a parameter of its name. */
static void put_params(struct buf *b, struct infer_params params, const struct named *extra)
{
    AUTO(buf_fini) struct buf list = {0};
    const struct named *p;
    struct named one;
    size_t n;

    for (size_t i = 0; i < params.n; i++)
        if (infer_param_at(params, i, &one.key, &one.v) && !(extra && str_eq(one.key, extra->key)))
            buf_append(&list, bytes_of(&one, sizeof one));
    if (extra) buf_append(&list, bytes_of(extra, sizeof *extra));
    n = list.n / sizeof one;
    if (!n) return;
    p = (const struct named *)(const void *)list.p;
    qsort(list.p, n, sizeof one, by_key);
    put_comma(b);
    buf_append_str(b, STR("\"parameters\":{"));
    for (size_t i = 0, written = 0; i < n; i++) {
        if (i + 1 < n && str_eq(p[i].key, p[i + 1].key)) continue;
        if (written++) buf_append_byte(b, ',');
        put_param(b, &p[i]);
    }
    buf_append_byte(b, '}');
}

void json_put_params(struct buf *b, struct infer_params params)
{
    put_params(b, params, NULL);
}

/* ---- tensors ---- */

struct encoder {
    const struct infer_view *v;
    const struct json_style *style;
    struct buf *out;
    struct buf tail;    /* binary data */
    struct buf scratch; /* raw form of the tensor at hand */
};

static struct json_want want_of(const struct encoder *x, struct str name)
{
    const struct json_wants *wants = x->style ? x->style->wants : NULL;

    for (size_t i = 0; wants && i < wants->n; i++)
        if (str_eq(wants->list[i].name, name)) return wants->list[i];
    return (struct json_want){.binary = wants && wants->binary};
}

/* The tensor's data as raw, counted. FP16 and BF16 in typed contents are FP32 numbers and are
 * printed as such. */
static enum rc raw_form(struct encoder *x, const struct infer_tensor *t, bool binary,
                        enum datatype *ret_type, struct bytes *ret, struct err *e)
{
    struct infer_tensor as = *t;

    if (!binary && !t->has_raw && (t->type == DT_FP16 || t->type == DT_BF16)) as.type = DT_FP32;
    *ret_type = as.type;
    if (as.type == DT_UNKNOWN)
        return err_set(e, RC_INVALID, "tensor \"" NAME_FMT "\": unknown datatype \"" NAME_FMT "\"",
                       NAME_ARG(t->name), NAME_ARG(t->datatype));
    if (contents_as_raw(&as, ret)) return contents_check(&as, e);
    buf_clear(&x->scratch);
    if (infer_tensor_raw(&as, &x->scratch, e)) return e->rc;
    *ret = buf_view(&x->scratch);
    return RC_OK;
}

static bool bytes_are_text(const struct encoder *x, const struct infer_tensor *t, bool wanted)
{
    if (infer_param_is(t->params, "content_type", "base64")) return false;
    if (infer_param_is(t->params, "content_type", "str") ||
        infer_param_is(t->params, "content_type", "datetime"))
        return true;
    return wanted || (x->style && x->style->bytes_as_text);
}

/* Prints the data, or moves it to the tail. *extra becomes the parameter that says so; false: none
 * is needed. */
static bool put_data(struct encoder *x, const struct infer_tensor *t, enum datatype type,
                     struct bytes raw, struct json_want want, struct named *extra)
{
    bool text = bytes_are_text(x, t, want.text), valid;

    if (want.binary) {
        buf_append(&x->tail, raw);
        *extra =
            (struct named){STR("binary_data_size"), {.kind = INFER_PARAM_INT, .i = (int64_t)raw.n}};
        return true;
    }
    buf_append_str(x->out, STR("\"data\":["));
    valid = type != DT_BYTES || !text || all_text(raw);
    if (type == DT_BYTES)
        put_strings(x->out, raw, text && valid);
    else
        put_numbers(x->out, type, raw);
    buf_append_str(x->out, STR("],"));
    *extra = (struct named){STR("content_type"), {.kind = INFER_PARAM_STR, .s = STR("base64")}};
    return !valid;
}

static enum rc put_tensor(struct encoder *x, const struct infer_tensor *t, struct err *e)
{
    struct json_want want = want_of(x, t->name);
    struct named extra;
    enum datatype type;
    struct bytes raw;
    bool adds;
    char text[ELEMENT_TEXT_MAX];

    if (raw_form(x, t, want.binary, &type, &raw, e)) return e->rc;
    buf_append_byte(x->out, '{');
    adds = put_data(x, t, type, raw, want, &extra);
    buf_append_str(x->out, STR("\"name\":"));
    json_put_str(x->out, t->name);
    buf_append_str(x->out, STR(",\"shape\":["));
    for (size_t i = 0; i < t->shape_n; i++) {
        if (i) buf_append_byte(x->out, ',');
        buf_append(x->out, bytes_of(text, (size_t)(signed_text(t->shape[i], text) - text)));
    }
    buf_append_str(x->out, STR("],\"datatype\":"));
    json_put_str(x->out, t->datatype);
    put_params(x->out, t->params, adds ? &extra : NULL);
    buf_append_byte(x->out, '}');
    return RC_OK;
}

/* ---- messages ---- */

static void put_member(struct buf *b, const char *name, struct str value, bool always)
{
    if (!value.n && !always) return;
    put_comma(b);
    buf_printf(b, "\"%s\":", name);
    json_put_str(b, value);
}

static void put_requested(struct encoder *x)
{
    buf_append_str(x->out, STR(",\"outputs\":["));
    for (size_t i = 0; i < x->v->requested_n; i++) {
        buf_append_str(x->out, i ? STR(",{\"name\":") : STR("{\"name\":"));
        json_put_str(x->out, x->v->requested[i].name);
        put_params(x->out, x->v->requested[i].params, NULL);
        buf_append_byte(x->out, '}');
    }
    buf_append_byte(x->out, ']');
}

static enum rc put_message(struct encoder *x, struct err *e)
{
    const struct infer_view *v = x->v;
    struct buf *b = x->out;
    bool response = v->kind == INFER_RESPONSE,
         names = response || (x->style && x->style->request_names);

    buf_append_byte(b, '{');
    if (names) put_member(b, "model_name", v->model_name, response);
    if (names) put_member(b, "model_version", v->model_version, false);
    put_member(b, "id", v->id, false);
    put_params(b, v->params, NULL);
    if (v->tensors_n || !response) {
        put_comma(b);
        buf_append_str(b, response ? STR("\"outputs\":[") : STR("\"inputs\":["));
        for (size_t i = 0; i < v->tensors_n; i++) {
            if (i) buf_append_byte(b, ',');
            if (put_tensor(x, &v->tensors[i], e))
                return err_in(e, "%s[%zu]", response ? "outputs" : "inputs", i);
        }
        buf_append_byte(b, ']');
    }
    if (v->requested_n) put_requested(x);
    buf_append_byte(b, '}');
    return RC_OK;
}

enum rc infer_encode_json(const struct infer_view *v, const struct json_style *style,
                          struct buf *ret, size_t *ret_json_bytes, struct err *e)
{
    struct encoder x = {.v = v, .style = style, .out = ret};
    size_t start = ret->n;
    enum rc rc = put_message(&x, e);

    if (rc) {
        ret->n = start;
    } else {
        if (ret_json_bytes) *ret_json_bytes = ret->n - start;
        buf_append(ret, buf_view(&x.tail));
    }
    buf_fini(&x.tail);
    buf_fini(&x.scratch);
    return rc;
}
