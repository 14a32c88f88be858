/* base/blob.h - immutable, counted bytes: the only shape that may be looked at by two threads.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"

struct blob;                                     /* opaque */

struct blob *blob_new(struct bytes copy);                         /* one reference, yours */
struct blob *blob_take(struct buf *src);                          /* moves the bytes, no copy; src is empty afterwards */
/* Uninitialised bytes to fill before the blob is shared: *ret_p is writable until then. */
struct blob *blob_new_uninit(size_t n, uint8_t **ret_p);
struct blob *blob_ref(struct blob *b);
void         blob_unref(struct blob **b);                         /* empties the caller's pointer; NULL is fine */
struct bytes blob_view(const struct blob *b);                     /* valid while you hold a reference */
