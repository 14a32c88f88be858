/* tests/fuzz/oip_proto_fuzz.c - inference messages as any client, topic or model server may present
 * them. What parses must survive a rename and a splice; what is valid must still be so afterwards
 * and must print as JSON or say why not.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "oip/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ARENA_MAX = 8 << 20 };

static void check_json(const struct infer_view *v, struct arena *a)
{
    const struct json_want list[] = {{STR("X"), true, false}, {STR("A"), false, true}};
    const struct json_wants wants = {.binary = v->tensors_n & 1, .list = list, .n = 2};
    const struct json_style styles[] = {{.bytes_as_text = true, .request_names = true},
                                        {.wants = &wants}};

    for (size_t i = 0; i < countof(styles); i++) {
        AUTO(buf_fini) struct buf json = {0}, again = {0};
        struct infer_view w;
        struct err e;
        size_t n;

        if (infer_encode_json(v, &styles[i], &json, &n, &e)) continue;
        must(n <= json.n);
        if (infer_decode_json(buf_view(&json), n, v->kind, a, &again, NULL, &e)) continue;
        must(infer_parse(buf_view(&again), v->kind, a, &w, &e) || w.tensors_n == v->tensors_n);
    }
}

static void check_splice(const struct infer_view *v, bool valid, struct arena *a)
{
    AUTO(buf_fini) struct buf out = {0};
    const struct infer_select select = {v->tensors_n ? v->tensors[0].name : STR("x"),
                                        STR("renamed")};
    const struct infer_part parts[] = {{.view = v, .all = true},
                                       {.view = v, .select = &select, .select_n = 1}};
    struct infer_view w;
    struct err e;
    size_t n;

    if (infer_build(parts, 2, INFER_RESPONSE, NULL, &out, &n, &e)) return;
    if (infer_parse(buf_view(&out), INFER_RESPONSE, a, &w, &e)) {
        must(e.rc == RC_TOO_LARGE || v->tensors_n > INFER_TENSORS_MAX / 2);
        return;
    }
    must(w.tensors_n == n && n >= v->tensors_n);
    must(!valid || !infer_validate(&w, &e));
}

static void check_rename(const struct infer_view *v, bool valid, struct arena *a)
{
    AUTO(buf_fini) struct buf out = {0};
    struct str name = STR("m");
    struct infer_names names = {.model_name = &name};
    struct infer_view w;
    struct err e;

    infer_rename(v, &names, &out);
    if (!infer_parse(buf_view(&out), v->kind, a, &w, &e))
        must(str_is(w.model_name, "m") && w.tensors_n == v->tensors_n && str_eq(w.id, v->id));
    else
        must(e.rc == RC_TOO_LARGE);
    buf_clear(&out);
    if (infer_rename_raw(v, &names, &out, &e) || infer_parse(buf_view(&out), v->kind, a, &w, &e))
        return;
    must(w.tensors_n == v->tensors_n && !infer_wants_raw(&w));
    must(!valid || !infer_validate(&w, &e));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (int kind = INFER_REQUEST; kind <= INFER_RESPONSE; kind++) {
        struct arena a;
        struct infer_view v;
        struct err e;
        bool valid;

        arena_init(&a, ARENA_MAX);
        if (!infer_parse(bytes_of(data, size), (enum infer_kind)kind, &a, &v, &e)) {
            valid = !infer_validate(&v, &e);
            check_rename(&v, valid, &a);
            check_splice(&v, valid, &a);
            if (valid) check_json(&v, &a);
        }
        arena_fini(&a);
    }
    return 0;
}
