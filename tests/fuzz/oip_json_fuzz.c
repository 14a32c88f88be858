/* tests/fuzz/oip_json_fuzz.c - V2 JSON, with and without a binary tail. The first byte says which
 * message it is and where the tail starts. What decodes is a valid message, and printing and
 * reading it again changes nothing.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "oip/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void print(struct bytes proto, enum infer_kind kind, struct arena *a, struct buf *json)
{
    const struct json_style style = {.bytes_as_text = true};
    struct infer_view v;
    struct err e;

    must(!infer_parse(proto, kind, a, &v, &e) && !infer_validate(&v, &e));
    must(!infer_encode_json(&v, &style, json, NULL, &e));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(buf_fini) struct buf proto = {0}, json = {0}, again = {0}, same = {0};
    struct arena a = {0};
    enum infer_kind kind;
    struct json_wants wants;
    struct bytes body;
    struct err e;

    if (!size) return 0;
    kind = data[0] & 1 ? INFER_RESPONSE : INFER_REQUEST;
    body = bytes_of(data + 1, size - 1);
    if (!infer_decode_json(body, body.n - MIN(body.n, (size_t)data[0] >> 1), kind, &a, &proto,
                           &wants, &e)) {
        print(buf_view(&proto), kind, &a, &json);
        must(!infer_decode_json(buf_view(&json), json.n, kind, &a, &again, NULL, &e));
        print(buf_view(&again), kind, &a, &same);
        must(bytes_eq(buf_view(&json), buf_view(&same)));
    } else {
        must(e.rc != RC_OK && !proto.n);
    }
    arena_fini(&a);
    return 0;
}
