/* control/record_json.c - decoding for the eye. SPDX-License-Identifier: Apache-2.0 */
#include "control/record_json.h"
#include "base/base64.h"
#include "bus/schema.h"
#include "oip/json.h"
#include "oip/pb.h"
#include <inttypes.h>

enum { MESSAGE_ARENA_MAX = 64 << 20 };

bool record_header(const struct bus_record *r, const char *name, struct str *ret)
{
    for (size_t i = 0; i < r->headers_n; i++) {
        if (!str_is(r->headers[i].key, name)) continue;
        *ret = bytes_str(r->headers[i].value);
        return true;
    }
    return false;
}

static bool printable(struct bytes v)
{
    if (!utf8_valid(bytes_str(v))) return false;
    for (size_t i = 0; i < v.n; i++)
        if (v.p[i] < 32 && v.p[i] != '\n' && v.p[i] != '\r' && v.p[i] != '\t') return false;
    return true;
}

static void put_bytes(struct bytes v, struct buf *b)
{
    buf_append_str(b, STR("\"kind\":\"bytes\",\"value\":\""));
    base64_encode(v, b);
    buf_append_byte(b, '"');
}

static void put_opaque(struct bytes v, const char *kind, struct buf *b)
{
    if (printable(v)) {
        buf_printf(b, "\"kind\":\"%s\",\"value\":", kind);
        json_put_str(b, bytes_str(v));
    } else {
        put_bytes(v, b);
    }
}

/* A message of V2; false: it is none, nothing was appended. */
static bool put_message(struct bytes v, enum infer_kind kind, struct str tensor, struct buf *b)
{
    AUTO(arena_fini) struct arena a = {.limit = MESSAGE_ARENA_MAX};
    AUTO(buf_fini) struct buf one = {0}, json = {0};
    struct json_style style = {.bytes_as_text = true, .request_names = true};
    struct infer_view view, part_view;
    struct err e = {0};

    if (infer_parse(v, kind, &a, &view, &e)) return false;
    if (tensor.n) {
        struct infer_select select = {.tensor = tensor};
        struct infer_part part = {.view = &view, .select = &select, .select_n = 1};
        size_t taken = 0;
        if (infer_build(&part, 1, kind, NULL, &one, &taken, &e)) return false;
        if (!taken) {
            buf_printf(b, "\"kind\":\"%s\",\"value\":null",
                       kind == INFER_REQUEST ? "request" : "response");
            return true;
        }
        if (infer_parse(buf_view(&one), kind, &a, &part_view, &e)) return false;
        view = part_view;
    }
    if (infer_encode_json(&view, &style, &json, NULL, &e)) return false;
    buf_printf(b, "\"kind\":\"%s\",\"value\":", kind == INFER_REQUEST ? "request" : "response");
    buf_append(b, buf_view(&json));
    return true;
}

static void put_value(struct str topic, const struct bus_record *r, struct str tensor,
                      struct buf *b)
{
    struct str unused;
    bool lost = record_header(r, "millrace-lost", &unused);
    bool error = record_header(r, "seldon-pipeline-errors", &unused) ||
                 str_ends(topic, STR(".errors.errors"));

    if (!r->value.p)
        buf_append_str(b, STR("\"kind\":\"null\",\"value\":null"));
    else if (lost)
        put_opaque(r->value, "lost", b);
    else if (error)
        put_opaque(r->value, "error", b);
    else if (str_ends(topic, STR(".inputs")) && put_message(schema_message(r->value), INFER_REQUEST, tensor, b))
        return;
    else if (str_ends(topic, STR(".outputs")) && put_message(schema_message(r->value), INFER_RESPONSE, tensor, b))
        return;
    else
        put_opaque(r->value, "text", b);
}

static void put_text(struct bytes v, struct buf *b)
{
    if (!v.p)
        buf_append_str(b, STR("null"));
    else if (printable(v))
        json_put_str(b, bytes_str(v));
    else {
        buf_append_str(b, STR("\"base64:"));
        base64_encode(v, b);
        buf_append_byte(b, '"');
    }
}

void record_put_json(struct str topic, int32_t partition, const struct bus_record *r,
                     struct str tensor, bool raw, struct buf *b)
{
    buf_append_str(b, STR("{\"topic\":"));
    json_put_str(b, topic);
    buf_printf(
        b, ",\"partition\":%" PRId32 ",\"offset\":%" PRId64 ",\"timestampMs\":%" PRId64 ",\"key\":",
        partition, r->offset, r->timestamp_ms);
    put_text(r->key, b);
    buf_append_str(b, STR(",\"headers\":["));
    for (size_t i = 0; i < r->headers_n; i++) {
        buf_append_str(b, i ? STR(",{\"key\":") : STR("{\"key\":"));
        json_put_str(b, r->headers[i].key);
        buf_append_str(b, STR(",\"value\":"));
        put_text(r->headers[i].value, b);
        buf_append_byte(b, '}');
    }
    buf_printf(b, "],\"bytes\":%zu,", r->value.n);
    if (raw && r->value.p)
        put_bytes(r->value, b);
    else
        put_value(topic, r, tensor, b);
    buf_append_byte(b, '}');
}
