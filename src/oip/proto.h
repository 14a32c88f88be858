/* oip/proto.h - zero-copy views of ModelInferRequest and ModelInferResponse, and new messages spliced out of them.
 *
 * A view borrows the message (strings, contents, raw contents point into it) and its arena (arrays). Parsing never
 * looks inside tensor data; infer_validate() counts it, infer_build() copies it once, untouched where it can.
 * Requests and responses have the same layout but for raw contents (field 7 and 6) and requested outputs (field 6 of
 * a request), so one view serves both.
 * Pure: no I/O, no clock. Used by: flow, gateway, upstream, cli (inspect).     SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "oip/datatype.h"

enum infer_kind { INFER_REQUEST, INFER_RESPONSE };

/* More than these is refused with RC_INVALID. */
enum { INFER_TENSORS_MAX = 4096, INFER_DIMS_MAX = 64, INFER_PARAMS_MAX = 4096 };

/* The map entries of a `parameters` field as they came: each is the body of one entry (1 key, 2 InferParameter). */
struct infer_params { const struct bytes *entries; size_t n; };

struct infer_tensor {
    struct str          name, datatype;
    enum datatype       type;
    const int64_t      *shape;
    size_t              shape_n;
    struct infer_params params;
    struct bytes        contents;        /* body of InferTensorContents */
    struct bytes        raw;             /* the raw contents that belong to this tensor */
    bool                has_contents, has_raw;
    struct bytes        field;           /* the whole tensor field, tag and length included */
};

struct infer_requested { struct str name; struct infer_params params; };

struct infer_view {
    enum infer_kind         kind;
    struct bytes            message;
    struct str              model_name, model_version, id;
    struct infer_params     params;
    struct infer_tensor    *tensors;          /* inputs of a request, outputs of a response */
    size_t                  tensors_n;
    struct infer_requested *requested;        /* `outputs` of a request */
    size_t                  requested_n;
    struct bytes           *raws;             /* all raw contents, in order */
    size_t                  raws_n;
};

/* Raw contents go to the tensors by index when there are as many as tensors; when there are fewer, in order to the
 * tensors that have no typed contents (and hold at least one element). What does not work out stays without and is
 * infer_validate()'s to refuse.
 * RC_INVALID: not such a message, or above the limits. RC_TOO_LARGE: the arena's limit. */
enum rc infer_parse(struct bytes msg, enum infer_kind kind, struct arena *a, struct infer_view *ret, struct err *e) MUST_USE;

/* Every tensor: a known datatype, no negative dimension, data present exactly once, in the field of its datatype and
 * exactly as many elements as the shape says; BYTES lengths add up; names present and valid UTF-8. The sentence names
 * tensor, wanted and found. RC_INVALID otherwise. */
enum rc infer_validate(const struct infer_view *v, struct err *e) MUST_USE;

const struct infer_tensor *infer_find(const struct infer_view *v, struct str name);      /* the first so named, or NULL */
bool infer_tensor_count(const struct infer_tensor *t, uint64_t *ret);                    /* product of the shape; false: negative or too large */

struct infer_param {
    enum { INFER_PARAM_NONE, INFER_PARAM_BOOL, INFER_PARAM_INT, INFER_PARAM_STR, INFER_PARAM_DOUBLE, INFER_PARAM_UINT } kind;
    bool b; int64_t i; uint64_t u; double d; struct str s;
};
bool infer_param_at(struct infer_params p, size_t i, struct str *ret_key, struct infer_param *ret);   /* false: damaged entry */
bool infer_param_find(struct infer_params p, struct str key, struct infer_param *ret);                /* the last one wins */
bool infer_param_is(struct infer_params p, const char *key, const char *value);                       /* a string parameter */
void infer_put_param(struct buf *b, uint32_t number, struct str key, const struct infer_param *v);    /* one map entry as field `number` */

/* Appends the tensor's data as raw (see datatype.h), whatever form it has. RC_INVALID: does not fit datatype or shape. */
enum rc infer_tensor_raw(const struct infer_tensor *t, struct buf *ret, struct err *e) MUST_USE;
/* Appends the body of InferTensorContents made from raw data. `raw` must hold whole, well-formed elements. */
void    infer_put_contents(struct buf *b, enum datatype type, struct bytes raw);

/* ---- New messages out of views ---- */

/* Which tensors of a view to take and under which names. */
struct infer_select { struct str tensor, rename; };           /* an empty rename keeps the name */
struct infer_part {
    const struct infer_view   *view;
    const struct infer_select *select;
    size_t                     select_n;
    bool                       all;                           /* tensors not in `select` are taken too, under their own names */
};

/* Fields to set; NULL leaves the field as described at the function. */
struct infer_names { const struct str *model_name, *model_version, *id; };

/* Appends to *ret a message of kind `to`: the selected tensors of every part in order, part after part (duplicates by
 * name are kept); id and parameters of the first part; names only as given; requested outputs are dropped. Tensor data
 * is spliced. If one taken tensor has raw contents, all become raw, as readers pair raw contents by index.
 * *ret_taken (may be NULL) counts tensors; with none nothing useful was written and the caller decides.
 * RC_INVALID: typed contents that have to become raw do not fit their datatype. */
enum rc infer_build(const struct infer_part *parts, size_t parts_n, enum infer_kind to, const struct infer_names *names,
                    struct buf *ret, size_t *ret_taken, struct err *e) MUST_USE;

/* Appends the same message with fields 1 to 3 set as `names` says (NULL: as they were), everything else byte for byte. */
void infer_rename(const struct infer_view *v, const struct infer_names *names, struct buf *ret);

/* Appends the same message (names as in infer_rename) with all tensor data raw. Triton and MLServer take FP16 and BF16
 * in no other form; infer_wants_raw() says whether a message has such tensors in typed contents. */
enum rc infer_rename_raw(const struct infer_view *v, const struct infer_names *names, struct buf *ret, struct err *e) MUST_USE;
bool    infer_wants_raw(const struct infer_view *v);

/* Appends the same message without the tensors, with their raw contents, and the parameters that `names` names; all else
 * byte for byte, order and requested outputs included. ret_hit[i]: there was something of that name. */
void infer_leave_out(const struct infer_view *v, const struct str *names, size_t n, bool *ret_hit, struct buf *ret);
