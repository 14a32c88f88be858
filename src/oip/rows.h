/* oip/rows.h - several requests as one, along the first dimension, and their answers taken apart again.
 *
 * The first dimension of a message's tensors counts its rows, where all of them have the same. Data is copied once and
 * keeps its form: typed contents stay typed, raw ones raw; all become raw where a message has any raw contents.
 * Pure. Used by: flow/batch.c.     SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "oip/proto.h"

/* False: it has no tensors, or they do not have the same number of rows, at least one. */
bool infer_rows(const struct infer_view *v, uint64_t *ret);
/* May both go into one request? The same tensors in the same order, with the same datatypes, parameters and dimensions
 * but for the first, and the same parameters of the message. */
bool infer_rows_fit(const struct infer_view *a, const struct infer_view *b);
/* Appends one request of all their rows, in order; parameters and id of the last. Both functions above were true. */
enum rc infer_rows_join(const struct infer_view *const *views, size_t n, struct buf *ret, struct err *e) MUST_USE;
/* Appends the response with the rows from `from` on, n of `total`, and this id. A tensor that has not `total` rows is
 * copied whole. */
enum rc infer_rows_take(const struct infer_view *v, uint64_t from, uint64_t n, uint64_t total, struct str id,
                        struct buf *ret, struct err *e) MUST_USE;
