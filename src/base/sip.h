/* base/sip.h - SipHash-2-4 with a 128-bit result: a keyed hash for tables that remember only the hash of a key.
 * Without the key nobody can make two inputs meet. Never written to disk.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/bytes.h"

struct sip_key { uint64_t k0, k1; };
struct sip_hash { uint64_t lo, hi; };
struct sip_hash sip128(struct bytes in, const struct sip_key *key);
