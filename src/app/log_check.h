/* app/log_check.h - the checker of a data folder, told in JSON: the command line may not look into the broker itself.
 *
 * `put` gets one object at a time, borrowed. What is checked and repaired: docs/durability.md.
 * Used by: cli/.   Lives on: any thread, blocking.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/err.h"
#include <jansson.h>
#include <stdbool.h>

typedef void (*log_check_fn)(void *ctx, const json_t *j);

/* A finding: {weight: note|rebuildable|damage, file, text, remedy?, repaired}. *ret: counts, yours. *ret_whole: nothing is
 * left that should be repaired. RC_LOCKED: in use. RC_NOT_FOUND: no data folder. RC_UNSUPPORTED: a newer version's. */
enum rc log_check(const char *dir, bool repair, log_check_fn put, void *ctx, json_t **ret,
                  bool *ret_whole, struct err *e) MUST_USE;
/* What a file, a partition's folder, or a partition of `dir` holds. RC_CORRUPT: the rest is damaged. */
enum rc log_dump(const char *dir, const char *what, log_check_fn put, void *ctx, struct err *e) MUST_USE;
