/* broker/clean_keys.h - the last offset of every key of a compaction pass, in bounded memory.
 *
 * Holds 128 bits of a keyed hash instead of the key: 24 bytes a key, and no two keys are ever taken for one. The table
 * grows up to its bound; then it is full and the pass ends where it stands.
 * Lives on: a worker.   Used by: broker/clean.c.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/sip.h"

struct key_slot;
struct clean_keys { struct sip_key secret; struct key_slot *slots; size_t n, cap, cap_max; };

void clean_keys_init(struct clean_keys *ks, uint64_t bytes_max);
void clean_keys_fini(struct clean_keys *ks);
bool clean_keys_have_room(const struct clean_keys *ks, size_t more);      /* always, while it is empty */
void clean_keys_put(struct clean_keys *ks, struct bytes key, int64_t offset);
int64_t clean_keys_get(const struct clean_keys *ks, struct bytes key);    /* -1: not there */
