/* A message without some of its tensors and parameters: what is written to a log that must not hold them. What cannot be
 * told apart is left out too. SPDX-License-Identifier: Apache-2.0 */
#include "oip/pb.h"
#include "oip/proto.h"

static bool named(const struct str *names, size_t n, bool *hit, struct str name)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(names[i], name)) return hit[i] = true;
    return false;
}

/* One entry of a `parameters` field. A damaged one has no name to go by. */
static bool param_named(const struct str *names, size_t n, bool *hit, struct bytes entry)
{
    struct infer_params one = {&entry, 1};
    struct infer_param v;
    struct str key;

    return !infer_param_at(one, 0, &key, &v) || named(names, n, hit, key);
}

/* The body of a tensor, or of a requested output, without the parameters: those are field `params`. */
static void put_body(struct bytes body, uint32_t params, const struct str *names, size_t n, bool *hit, struct buf *ret)
{
    struct pb_reader r = pb_reader_of(body);

    for (struct pb_field f; pb_next(&r, &f);)
        if (f.number != params || f.wire != PB_LEN || !param_named(names, n, hit, f.bytes)) buf_append(ret, f.whole);
}

/* Raw contents that belong to no tensor for certain go with the first tensor that does. */
static bool raw_named(const struct infer_view *v, const bool *gone, bool any, struct bytes raw)
{
    for (size_t i = 0; i < v->tensors_n; i++)
        if (v->tensors[i].has_raw && v->tensors[i].raw.p == raw.p) return gone[i];
    return any;
}

static void put_message(const struct infer_view *v, const struct str *names, size_t n, const bool *gone, bool any, bool *hit,
                        struct buf *ret)
{
    uint32_t raw = v->kind == INFER_REQUEST ? 7 : 6;
    struct pb_reader r = pb_reader_of(v->message);
    size_t tensor = 0;

    for (struct pb_field f; pb_next(&r, &f);) {
        bool tensor_field = f.number == 5 && f.wire == PB_LEN;

        if (f.number == 4 && f.wire == PB_LEN && param_named(names, n, hit, f.bytes)) continue;
        if (f.number == raw && f.wire == PB_LEN && raw_named(v, gone, any, f.bytes)) continue;
        if (tensor_field && gone[tensor++]) continue;
        if (tensor_field || (v->kind == INFER_REQUEST && f.number == 6 && f.wire == PB_LEN)) {
            size_t at = pb_begin(ret, f.number);

            put_body(f.bytes, tensor_field ? 4 : 2, names, n, hit, ret);
            pb_end(ret, at);
        } else {
            buf_append(ret, f.whole);
        }
    }
}

void infer_leave_out(const struct infer_view *v, const struct str *names, size_t n, bool *ret_hit, struct buf *ret)
{
    struct arena a = {0};
    bool *gone = arena_array(&a, bool, v->tensors_n), any = false;

    for (size_t i = 0; i < n; i++)
        ret_hit[i] = false;
    for (size_t i = 0; i < v->tensors_n; i++)
        any |= gone[i] = named(names, n, ret_hit, v->tensors[i].name);
    buf_reserve(ret, v->message.n + 64);
    put_message(v, names, n, gone, any, ret_hit, ret);
    arena_fini(&a);
}
