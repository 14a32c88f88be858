/* flow/payload.h - what asynchronous producers may write to a model's inputs topic. Pure.
 *
 * The header seldon-infer-type names the form: proto/InferModelRequest, proto/InferModelResponse (another model's answer),
 * json/inferModelRequest, json/inferModelResponse. Without it the form is found out. A JSON record is answered in JSON.
 * Pipelines take ModelInferRequest only.     SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "oip/proto.h"

/* `type` is the header's value, empty: none. What has to become a request is appended to *ret; when the value is one
 * already *ret stays empty. RC_INVALID: neither, or a type that is not known. */
enum rc payload_read(struct bytes value, struct str type, struct arena *a, struct buf *ret, bool *ret_json, struct err *e) MUST_USE;
/* A record that is no ModelInferRequest: says what was wanted and what was found. quote: how it begins, too. Returns e->rc. */
enum rc payload_explain(struct bytes value, bool quote, struct err *e);
/* A response as the JSON that answers a JSON record. */
enum rc payload_write_json(const struct infer_view *response, struct buf *ret, struct err *e) MUST_USE;
