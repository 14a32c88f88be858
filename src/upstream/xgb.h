/* upstream/xgb.h - the built-in runtime: trees and boosted models through XGBoost's C API.
 *
 * The library (libxgboost.so.0, Debian's 1.7) is loaded on the first xgb_load(); without it the error says which package
 * to install. Everything here blocks, and computes only: upstream calls it on its one prediction lane, never on a
 * loop. A model may be used by one thread at a time.
 *
 * What a model looks like to a caller (and what the files must follow):
 *   file      model.json, model.ubj or model.bst, or a folder holding one of these (in that order of preference)
 *   input     one or several tensors, any names; FP32, FP64, FP16, BF16, BOOL or an integer type; each [rows, columns],
 *             or [rows] for one column. Their columns are put side by side, in order of the tensors, and must be as many
 *             as the model has features. One tensor alone of shape [features] is a single row.
 *             NaN means missing; infinity is refused; numbers that FP32 cannot hold are rounded (XGBoost computes in FP32).
 *   output    one tensor "predict", FP32, raw contents: [rows] for regression and binary objectives (probabilities for
 *             binary:logistic, the class for multi:softmax), [rows, classes] where there are several numbers a row.
 *   request parameter "output_margin": true gives the sum before the final transformation.
 *   id        and model name and version are those of the request.
 * Used by: upstream.     SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"

struct xgb_model;

/* The model file itself, appended: the path, or the first of the known names in the folder. */
enum rc xgb_file(struct str path, struct buf *ret, struct err *e) MUST_USE;
/* Is there a file that may be a model? A look at its first bytes, without the library. */
enum rc xgb_look(struct str path, struct err *e) MUST_USE;
/* RC_NOT_FOUND: no such file; RC_INVALID: not a model; RC_UNAVAILABLE: the library is not installed. */
enum rc xgb_load(struct str path, struct xgb_model **ret, struct err *e) MUST_USE;
struct xgb_model *xgb_free(struct xgb_model *m);                 /* NULL is fine; returns NULL */
uint64_t xgb_features(const struct xgb_model *m);

/* ModelInferRequest in, ModelInferResponse appended. RC_INVALID names the tensor, wanted and found;
 * RC_UPSTREAM: the library itself failed. */
enum rc xgb_predict(struct xgb_model *m, struct bytes request, struct buf *response, struct err *e) MUST_USE;

/* ModelMetadataResponse appended: platform "xgboost", one input [-1, features], one output "predict". */
void xgb_metadata(const struct xgb_model *m, struct str name, struct str version, struct buf *ret);
