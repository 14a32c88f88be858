/* SPDX-License-Identifier: Apache-2.0 */
#include "flow/payload.h"
#include "bus/schema.h"
#include "oip/json.h"
#include "oip/pb.h"

/* Another model's answer as a request: its outputs become inputs. */
static enum rc response_convert(struct bytes value, struct arena *a, struct buf *ret, struct err *e)
{
    struct infer_view v;
    struct infer_part part = {.view = &v, .all = true};

    if (infer_parse(value, INFER_RESPONSE, a, &v, e)) return e->rc;
    return infer_build(&part, 1, INFER_REQUEST, &(struct infer_names){0}, ret, NULL, e);
}

static enum rc json_convert(struct bytes value, enum infer_kind kind, struct arena *a, struct buf *ret, struct err *e)
{
    AUTO(buf_fini) struct buf message = {0};

    if (kind == INFER_REQUEST) return infer_decode_json(value, value.n, kind, a, ret, NULL, e);
    if (infer_decode_json(value, value.n, kind, a, &message, NULL, e)) return e->rc;
    return response_convert(buf_view(&message), a, ret, e);
}

static bool looks_like_json(struct bytes value)
{
    size_t i = 0;

    while (i < value.n && (value.p[i] == ' ' || value.p[i] == '\t' || value.p[i] == '\n' || value.p[i] == '\r'))
        i++;
    return i < value.n && value.p[i] == '{';
}

/* Bytes of a protobuf message may begin with '{' (field 15), but no message of the protocol does. */
static enum rc find_out(struct bytes value, struct arena *a, struct buf *ret, bool *ret_json, struct err *e)
{
    struct infer_view v;
    struct err first;

    if (looks_like_json(value)) {
        *ret_json = true;
        if (json_convert(value, INFER_REQUEST, a, ret, &first) == RC_OK) return RC_OK;
        if (json_convert(value, INFER_RESPONSE, a, ret, e) == RC_OK) return RC_OK;
    } else {
        if (infer_parse(value, INFER_REQUEST, a, &v, &first) == RC_OK) return RC_OK;
        if (response_convert(value, a, ret, e) == RC_OK) return RC_OK;
    }
    *e = first;
    return e->rc;
}

enum rc payload_read(struct bytes value, struct str type, struct arena *a, struct buf *ret, bool *ret_json, struct err *e)
{
    struct infer_view v;
    struct err first;

    *ret_json = str_starts(type, STR("json/"));
    if (!type.n) return find_out(value, a, ret, ret_json, e);
    if (str_is(type, "json/inferModelRequest")) return json_convert(value, INFER_REQUEST, a, ret, e);
    if (str_is(type, "json/inferModelResponse")) {
        if (json_convert(value, INFER_RESPONSE, a, ret, e) == RC_OK) return RC_OK;
        return json_convert(value, INFER_REQUEST, a, ret, &first) == RC_OK ? RC_OK : e->rc;
    }
    if (str_is(type, "proto/InferModelResponse")) return response_convert(value, a, ret, e);
    if (str_is(type, "proto/InferModelRequest"))
        return infer_parse(value, INFER_REQUEST, a, &v, e) == RC_OK ? RC_OK : response_convert(value, a, ret, e);
    return err_set(e, RC_INVALID, "seldon-infer-type is \"" STR_FMT
                   "\"; json/inferModelRequest, json/inferModelResponse, proto/InferModelRequest and "
                   "proto/InferModelResponse are known", STR_ARG(type));
}

static bool looks_like_text(struct bytes value)
{
    for (size_t i = 0; i < value.n; i++)
        if (value.p[i] < ' ' && value.p[i] != '\t' && value.p[i] != '\n' && value.p[i] != '\r') return false;
    return utf8_valid(bytes_str(value));
}

enum rc payload_explain(struct bytes value, bool quote, struct err *e)
{
    char begin[41] = {0};

    if (schema_other_message(value))
        return err_in(e, "a protobuf inference.ModelInferRequest is expected here, the record holds another message of its "
                         "schema registry's schema than the first, %zu bytes", value.n);
    const char *kind = looks_like_json(value)   ? "JSON"
                       : looks_like_text(value) ? "text"
                                                : "something else";

    for (size_t i = 0; i < MIN(value.n, sizeof begin - 1); i++)
        begin[i] = (char)(value.p[i] >= ' ' && value.p[i] < 127 ? value.p[i] : '.');
    return err_in(e, "a protobuf inference.ModelInferRequest is expected here, the record holds %s, %zu bytes%s%s",
                  kind, value.n, quote ? " beginning with " : "", quote ? begin : "");
}

enum rc payload_write_json(const struct infer_view *response, struct buf *ret, struct err *e)
{
    return infer_encode_json(response, &(struct json_style){.bytes_as_text = true}, ret, NULL, e);
}
