/* Views of inference messages.
 *
 * infer_parse() goes over the message twice: once to count (a peer's counts decide how much the
 * arena gives), once to fill. Tensor data is never entered here; contents.c does that for
 * validation and conversion.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "oip/proto.h"
#include "oip/contents.h"
#include "oip/pb.h"
#include <inttypes.h>

enum {
    F_MODEL_NAME = 1,
    F_MODEL_VERSION = 2,
    F_ID = 3,
    F_PARAMETERS = 4,
    F_TENSORS = 5,
    F_REQUESTED = 6
};
enum { T_NAME = 1, T_DATATYPE = 2, T_SHAPE = 3, T_PARAMETERS = 4, T_CONTENTS = 5 };

static const char *message_name(enum infer_kind kind)
{
    return kind == INFER_REQUEST ? "ModelInferRequest" : "ModelInferResponse";
}

static enum rc no_room(const char *what, struct err *e)
{
    return err_set(e, RC_TOO_LARGE,
                   "%s: more fields than the memory set aside for one message can index", what);
}

static bool expect(struct pb_reader *r, const struct pb_field *f, enum pb_wire wire)
{
    if (f->wire == wire) return true;
    r->why = "a known field has another wire type";
    return false;
}

/* ---- counting ---- */

struct counts {
    size_t params, tensors, requested, raws, dims;
};

static enum rc limit(size_t n, size_t max, const char *what, const char *things, struct err *e)
{
    if (n <= max) return RC_OK;
    return err_set(e, RC_INVALID, "%s: %zu %s, at most %zu are accepted", what, n, things, max);
}

static enum rc count_message(struct bytes msg, enum infer_kind kind, struct counts *ret,
                             struct err *e)
{
    struct pb_reader r = pb_reader_of(msg);
    const char *what = message_name(kind);
    uint32_t raw_field = infer_raw_field(kind);

    *ret = (struct counts){0};
    for (struct pb_field f; pb_next(&r, &f);) {
        ret->params += f.number == F_PARAMETERS;
        ret->tensors += f.number == F_TENSORS;
        ret->raws += f.number == raw_field;
        ret->requested += f.number == F_REQUESTED && kind == INFER_REQUEST;
        if (f.number <= raw_field && !expect(&r, &f, PB_LEN)) break;
    }
    if (r.why) return pb_failed(&r, what, e);
    if (limit(ret->params, INFER_PARAMS_MAX, what, "parameters", e)) return e->rc;
    if (limit(ret->tensors, INFER_TENSORS_MAX, what, "tensors", e)) return e->rc;
    if (limit(ret->raws, INFER_TENSORS_MAX, what, "raw contents", e)) return e->rc;
    return limit(ret->requested, INFER_TENSORS_MAX, what, "requested outputs", e);
}

/* Number of varints in a packed field. */
static size_t packed_count(struct bytes b)
{
    size_t n = 0;

    for (size_t i = 0; i < b.n; i++)
        n += b.p[i] < 128;
    return n;
}

static enum rc count_tensor(struct bytes body, const char *what, struct counts *ret, struct err *e)
{
    struct pb_reader r = pb_reader_of(body);
    bool contents = false;

    *ret = (struct counts){0};
    for (struct pb_field f; pb_next(&r, &f);) {
        if (f.number == T_SHAPE) {
            if (f.wire != PB_VARINT && !expect(&r, &f, PB_LEN)) break;
            ret->dims += f.wire == PB_LEN ? packed_count(f.bytes) : 1;
            continue;
        }
        ret->params += f.number == T_PARAMETERS;
        if (f.number <= T_CONTENTS && !expect(&r, &f, PB_LEN)) break;
        if (f.number == T_CONTENTS && contents) r.why = "contents twice";
        contents = contents || f.number == T_CONTENTS;
    }
    if (r.why) return pb_failed(&r, what, e);
    if (limit(ret->dims, INFER_DIMS_MAX, what, "dimensions", e)) return e->rc;
    return limit(ret->params, INFER_PARAMS_MAX, what, "parameters", e);
}

/* ---- filling ---- */

static enum rc tensor_parse(const struct pb_field *field, struct arena *a, struct infer_tensor *t,
                            struct err *e)
{
    struct pb_reader r = pb_reader_of(field->bytes), packed;
    struct bytes *params;
    struct counts n;
    int64_t *shape;

    if (count_tensor(field->bytes, "tensor", &n, e)) return e->rc;
    params = arena_array(a, struct bytes, n.params);
    shape = arena_array(a, int64_t, n.dims);
    if (!params || !shape) return no_room("tensor", e);
    *t = (struct infer_tensor){.shape = shape, .params = {params, n.params}, .field = field->whole};
    n = (struct counts){0};
    for (struct pb_field f; pb_next(&r, &f);) {
        switch (f.number) {
        case T_NAME: t->name = pb_str(&f); break;
        case T_DATATYPE: t->datatype = pb_str(&f); break;
        case T_PARAMETERS: params[n.params++] = f.bytes; break;
        case T_CONTENTS:
            t->contents = f.bytes;
            t->has_contents = true;
            break;
        case T_SHAPE:
            if (f.wire == PB_VARINT) {
                shape[n.dims++] = (int64_t)f.value;
                break;
            }
            packed = pb_reader_of(f.bytes);
            while (packed.p < packed.end && !packed.why)
                shape[n.dims] = (int64_t)pb_read_varint(&packed), n.dims++;
            if (packed.why) return pb_failed(&packed, "tensor shape", e);
            break;
        default: break;
        }
    }
    t->shape_n = n.dims;
    t->type = datatype_of(t->datatype);
    return RC_OK;
}

static enum rc requested_parse(struct bytes body, struct arena *a, struct infer_requested *ret,
                               struct err *e)
{
    struct pb_reader r = pb_reader_of(body), again = r;
    struct bytes *params;
    size_t n = 0;

    for (struct pb_field f; pb_next(&r, &f);) {
        if (f.number <= 2 && !expect(&r, &f, PB_LEN)) break;
        n += f.number == 2;
    }
    if (r.why) return pb_failed(&r, "requested output", e);
    if (limit(n, INFER_PARAMS_MAX, "requested output", "parameters", e)) return e->rc;
    if (!(params = arena_array(a, struct bytes, n))) return no_room("requested output", e);
    *ret = (struct infer_requested){.params = {params, n}};
    n = 0;
    for (struct pb_field f; pb_next(&again, &f);) {
        if (f.number == 1) ret->name = pb_str(&f);
        if (f.number == 2) params[n++] = f.bytes;
    }
    return RC_OK;
}

static enum rc message_fill(struct infer_view *v, struct bytes *params, struct arena *a,
                            struct err *e)
{
    struct pb_reader r = pb_reader_of(v->message);
    uint32_t raw_field = infer_raw_field(v->kind);
    struct counts n = {0};

    for (struct pb_field f; pb_next(&r, &f);) {
        switch (f.number) {
        case F_MODEL_NAME: v->model_name = pb_str(&f); continue;
        case F_MODEL_VERSION: v->model_version = pb_str(&f); continue;
        case F_ID: v->id = pb_str(&f); continue;
        case F_PARAMETERS: params[n.params++] = f.bytes; continue;
        case F_TENSORS:
            if (tensor_parse(&f, a, &v->tensors[n.tensors], e))
                return err_in(e, "%s[%zu]", v->kind == INFER_REQUEST ? "inputs" : "outputs",
                              n.tensors);
            n.tensors++;
            continue;
        default: break;
        }
        if (f.number == raw_field) {
            v->raws[n.raws++] = f.bytes;
        } else if (f.number == F_REQUESTED) {
            if (requested_parse(f.bytes, a, &v->requested[n.requested], e))
                return err_in(e, "outputs[%zu]", n.requested);
            n.requested++;
        }
    }
    return RC_OK;
}

static bool lacks_contents(const struct infer_tensor *t)
{
    return !t->has_contents;
}

static bool lacks_contents_and_holds_elements(const struct infer_tensor *t)
{
    uint64_t n;

    return !t->has_contents && (!infer_tensor_count(t, &n) || n > 0);
}

static bool any_tensor(const struct infer_tensor *t)
{
    return t != NULL;
}

/* Pairs raw contents with tensors; the first rule under which the numbers agree. */
static void pair_raws(struct infer_view *v)
{
    static bool (*const rules[])(const struct infer_tensor *) = {any_tensor, lacks_contents,
                                                                 lacks_contents_and_holds_elements};

    for (size_t k = 0; k < countof(rules) && v->raws_n; k++) {
        size_t n = 0;

        for (size_t i = 0; i < v->tensors_n; i++)
            n += rules[k](&v->tensors[i]);
        if (n != v->raws_n && !(k + 1 == countof(rules) && n > v->raws_n)) continue;
        for (size_t i = 0, next = 0; i < v->tensors_n && next < v->raws_n; i++) {
            if (!rules[k](&v->tensors[i])) continue;
            v->tensors[i].raw = v->raws[next++];
            v->tensors[i].has_raw = true;
        }
        return;
    }
}

enum rc infer_parse(struct bytes msg, enum infer_kind kind, struct arena *a, struct infer_view *ret,
                    struct err *e)
{
    struct infer_view v = {.kind = kind, .message = msg};
    struct bytes *params;
    struct counts n;

    if (count_message(msg, kind, &n, e)) return e->rc;
    params = arena_array(a, struct bytes, n.params);
    v.tensors = arena_array(a, struct infer_tensor, n.tensors);
    v.requested = arena_array(a, struct infer_requested, n.requested);
    v.raws = arena_array(a, struct bytes, n.raws);
    if (!params || !v.tensors || !v.requested || !v.raws) return no_room(message_name(kind), e);
    v.params = (struct infer_params){params, n.params};
    v.tensors_n = n.tensors;
    v.requested_n = n.requested;
    v.raws_n = n.raws;
    if (message_fill(&v, params, a, e)) return err_in(e, "%s", message_name(kind));
    pair_raws(&v);
    *ret = v;
    return RC_OK;
}

/* ---- questions ---- */

const struct infer_tensor *infer_find(const struct infer_view *v, struct str name)
{
    for (size_t i = 0; i < v->tensors_n; i++)
        if (str_eq(v->tensors[i].name, name)) return &v->tensors[i];
    return NULL;
}

bool infer_tensor_count(const struct infer_tensor *t, uint64_t *ret)
{
    uint64_t n = 1;
    bool empty = false;

    for (size_t i = 0; i < t->shape_n; i++) {
        if (t->shape[i] < 0) return false;
        empty = empty || t->shape[i] == 0;
    }
    for (size_t i = 0; i < t->shape_n && !empty; i++)
        if (__builtin_mul_overflow(n, (uint64_t)t->shape[i], &n) || n > INT64_MAX) return false;
    *ret = empty ? 0 : n;
    return true;
}

static enum rc validate_strings(const struct infer_view *v, struct err *e)
{
    const struct {
        const char *what;
        struct str s;
    } strings[] = {
        {"model_name", v->model_name}, {"model_version", v->model_version}, {"id", v->id}};

    for (size_t i = 0; i < countof(strings); i++)
        if (!utf8_valid(strings[i].s))
            return err_set(e, RC_INVALID, "%s is not valid UTF-8", strings[i].what);
    for (size_t i = 0; i < v->requested_n; i++)
        if (!utf8_valid(v->requested[i].name))
            return err_set(e, RC_INVALID, "outputs[%zu]: the name is not valid UTF-8", i);
    return RC_OK;
}

static enum rc validate_tensor(const struct infer_tensor *t, struct err *e)
{
    if (!t->name.n) return err_set(e, RC_INVALID, "a tensor without a name");
    if (!utf8_valid(t->name)) return err_set(e, RC_INVALID, "a tensor name is not valid UTF-8");
    if (t->type == DT_UNKNOWN)
        return err_set(e, RC_INVALID, "tensor \"" NAME_FMT "\": unknown datatype \"" NAME_FMT "\"",
                       NAME_ARG(t->name), NAME_ARG(t->datatype));
    if (t->has_raw && t->has_contents)
        return err_set(e, RC_INVALID, "tensor \"" NAME_FMT "\" has both typed and raw contents",
                       NAME_ARG(t->name));
    return contents_check(t, e);
}

enum rc infer_validate(const struct infer_view *v, struct err *e)
{
    size_t paired = 0;

    if (validate_strings(v, e)) return e->rc;
    for (size_t i = 0; i < v->tensors_n; i++)
        if (validate_tensor(&v->tensors[i], e))
            return err_in(e, "%s[%zu]", v->kind == INFER_REQUEST ? "inputs" : "outputs", i);
    for (size_t i = 0; i < v->tensors_n; i++)
        paired += v->tensors[i].has_raw;
    if (paired == v->raws_n) return RC_OK;
    return err_set(e, RC_INVALID, "%zu raw contents for %zu tensors", v->raws_n, v->tensors_n);
}

/* ---- parameters ---- */

bool infer_param_at(struct infer_params p, size_t i, struct str *ret_key, struct infer_param *ret)
{
    struct pb_reader r = pb_reader_of(p.entries[i]);
    struct str key = {0};
    struct bytes value = {0};
    struct infer_param v = {0};

    for (struct pb_field f; pb_next(&r, &f);) {
        if (f.number == 1 && f.wire == PB_LEN) key = pb_str(&f);
        if (f.number == 2 && f.wire == PB_LEN) value = f.bytes;
    }
    if (r.why) return false;
    r = pb_reader_of(value);
    for (struct pb_field f; pb_next(&r, &f);) {
        if (f.number == 1 && f.wire == PB_VARINT)
            v = (struct infer_param){.kind = INFER_PARAM_BOOL, .b = f.value != 0};
        if (f.number == 2 && f.wire == PB_VARINT)
            v = (struct infer_param){.kind = INFER_PARAM_INT, .i = (int64_t)f.value};
        if (f.number == 3 && f.wire == PB_LEN)
            v = (struct infer_param){.kind = INFER_PARAM_STR, .s = pb_str(&f)};
        if (f.number == 4 && f.wire == PB_FIXED64) {
            v = (struct infer_param){.kind = INFER_PARAM_DOUBLE};
            memcpy(&v.d, &f.value, sizeof v.d);
        }
        if (f.number == 5 && f.wire == PB_VARINT)
            v = (struct infer_param){.kind = INFER_PARAM_UINT, .u = f.value};
    }
    if (r.why) return false;
    *ret_key = key;
    *ret = v;
    return true;
}

bool infer_param_find(struct infer_params p, struct str key, struct infer_param *ret)
{
    for (size_t i = p.n; i-- > 0;) {
        struct infer_param v;
        struct str k;

        if (!infer_param_at(p, i, &k, &v) || !str_eq(k, key)) continue;
        *ret = v;
        return true;
    }
    return false;
}

bool infer_param_is(struct infer_params p, const char *key, const char *value)
{
    struct infer_param v;

    return infer_param_find(p, str_of(key), &v) && v.kind == INFER_PARAM_STR && str_is(v.s, value);
}

void infer_put_param(struct buf *b, uint32_t number, struct str key, const struct infer_param *v)
{
    size_t entry = pb_begin(b, number), value;

    pb_put_str(b, 1, key);
    value = pb_begin(b, 2);
    switch (v->kind) {
    case INFER_PARAM_NONE: break;
    case INFER_PARAM_BOOL:
        pb_put_tag(b, 1, PB_VARINT);
        pb_put_varint(b, v->b);
        break;
    case INFER_PARAM_INT:
        pb_put_tag(b, 2, PB_VARINT);
        pb_put_varint(b, (uint64_t)v->i);
        break;
    case INFER_PARAM_STR: pb_put_bytes(b, 3, str_bytes(v->s)); break;
    case INFER_PARAM_DOUBLE:
        pb_put_tag(b, 4, PB_FIXED64);
        memcpy(buf_grow(b, 8), &v->d, 8);
        break;
    case INFER_PARAM_UINT:
        pb_put_tag(b, 5, PB_VARINT);
        pb_put_varint(b, v->u);
        break;
    }
    pb_end(b, value);
    pb_end(b, entry);
}
