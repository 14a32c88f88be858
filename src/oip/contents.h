/* oip/contents.h - inside oip/: walks typed and raw tensor data. SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "oip/proto.h"

/* Names come from peers: an error sentence shows at most this much of one. */
#define NAME_FMT    "%.*s"
#define NAME_ARG(s) (int)MIN((s).n, (size_t)64), ((s).p ? (s).p : "")

static inline uint32_t infer_raw_field(enum infer_kind kind) { return kind == INFER_REQUEST ? 7 : 6; }

/* The tensor holds exactly the elements its shape announces, in the field of its datatype. */
enum rc contents_check(const struct infer_tensor *t, struct err *e) MUST_USE;

/* Raw data is `count` whole elements (BYTES: lengths add up). The sentence starts without the tensor's name. */
enum rc raw_check(enum datatype type, uint64_t count, struct bytes raw, struct err *e) MUST_USE;

/* The data as raw without a copy where it already looks so: raw contents, or packed floats. False: needs infer_tensor_raw(). */
bool contents_as_raw(const struct infer_tensor *t, struct bytes *ret);
