/* oip/json.h - the V2 protocol's JSON form to protobuf and back; tensor data streams through, it never becomes a tree.
 *
 * What we read (spec 10.4, done better):
 *   - keys in any case, in any order; unknown keys are skipped; a known key twice is refused
 *   - data flat or nested (ragged nesting is refused), as many elements as the shape says, not one less
 *   - integers exactly, within their datatype; 1.0 and 1e3 are integers too, 1.5 is not
 *   - floats correctly rounded; beyond the datatype's range is refused. NaN, Infinity, -Infinity are read bare (as
 *     Python writes them) and as strings; null is NaN in a response (as orjson-based servers mean it), refused in a request
 *   - BYTES: the string's UTF-8 bytes (what tritonclient, MLServer and curl users send); tensor parameter content_type
 *     "base64" says that every string is base64, and is decoded. The parameter is kept.
 *   - parameters: strings, booleans, integers in int64. 3.0 is 3. Other fractions become strings ("1.7"): the protocol
 *     has no double parameter, and truncating them, as the original does, changes their meaning. In a response null is
 *     left out and objects and arrays become strings of JSON; in a request they are refused.
 *   - the binary extension: binary_data_size per tensor takes that many bytes of the tail, in order of the tensors; the
 *     tail must be used up. If one tensor is binary (or BF16, which has no typed form) all become raw contents, otherwise
 *     all are typed contents (FP16 in fp32_contents, as the original writes it).
 *   - binary_data, binary_data_output and binary_data_size are consumed; they say how the answer should look (json_wants)
 * What we write (spec 10.5): see struct json_style. Floats are the shortest text that reads back as the same FP32 or
 *   FP64 (FP16 and BF16: exactly the number they are, as FP64); what is not finite is written as a string ("NaN", "Infinity", "-Infinity"), so that the body stays
 *   JSON for every parser and nothing is lost.
 * Pure. Used by: gateway, upstream (REST model servers), cli (inspect).     SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "oip/proto.h"

enum { JSON_DEPTH_MAX = 64 };

/* How the asker wants the tensors of the answer. Borrows the request body or the arena it was decoded with. */
struct json_want { struct str name; bool binary, text; };
struct json_wants {
    bool                    binary;      /* parameters.binary_data_output: for outputs not listed */
    const struct json_want *list;        /* outputs[].parameters.binary_data and .content_type = "str" */
    size_t                  n;
};

/* Appends to *ret the protobuf message of kind `kind` that `body` describes. The first `json_bytes` of the body are JSON
 * (Inference-Header-Content-Length; body.n when the header is absent), the rest is the binary tail.
 * `a` holds the small things of ret_wants (may be NULL); *ret is unchanged on failure.
 * RC_INVALID: "inputs[0] \"X\": data[3]: 300 is out of range for INT8 (at byte 57)". RC_TOO_LARGE: the arena's limit. */
enum rc infer_decode_json(struct bytes body, size_t json_bytes, enum infer_kind kind, struct arena *a, struct buf *ret,
                          struct json_wants *ret_wants, struct err *e) MUST_USE;

struct json_style {
    const struct json_wants *wants;      /* NULL: no binary data */
    /* BYTES as text where a tensor is all valid UTF-8, otherwise as base64 with content_type "base64": what model servers
     * read. False: base64 unless the tensor's content_type is "str" or "datetime", what callers of the original read.
     * Text that is not valid UTF-8 is never damaged: it becomes base64 and content_type says so. A content_type "base64"
     * is always encoded, also when a gRPC model server (MLServer) already did so, as the original does. */
    bool bytes_as_text;
    bool request_names;                  /* model_name and model_version of a request too (inspect) */
};

/* Appends the JSON form of the message, {"model_name":"","outputs":[{"data":[…],"name":"X","shape":[2],"datatype":"FP32"}]},
 * then the binary tail if anything is wanted binary. *ret_json_bytes (may be NULL) is the length of the JSON part: when it
 * is less than what was appended the answer needs Inference-Header-Content-Length and application/octet-stream.
 * RC_INVALID when a tensor's data does not fit its datatype and shape. */
enum rc infer_encode_json(const struct infer_view *v, const struct json_style *style, struct buf *ret,
                          size_t *ret_json_bytes, struct err *e) MUST_USE;

void json_put_str(struct buf *b, struct str s);                   /* quoted and escaped; invalid UTF-8 becomes U+FFFD */
void json_put_params(struct buf *b, struct infer_params params);  /* member "parameters" of an open object, sorted; nothing when empty */

/* ---- Building blocks, also for other small JSON the data path meets ---- */

/* Shortest decimal text that reads back as the same value; returns its length (at most 32 bytes, no NUL). Finite only. */
size_t fp64_text(double v, char *ret);
size_t fp32_text(float v, char *ret);
