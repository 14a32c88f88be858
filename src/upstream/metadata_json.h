/* upstream/metadata_json.h - what GET /v2/models/M answers, as ModelMetadataResponse. Used by: upstream.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"

/* Appends the protobuf. RC_INVALID: not such an object. */
enum rc metadata_of_json(struct str json, struct buf *ret, struct err *e) MUST_USE;
