/* base/uuid.h - 16 random bytes that name something, and their text form as Kafka's tools print it.
 *
 * The text form is URL-safe base64 without padding, 22 characters. The all-zero uuid means "none".
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/bytes.h"

struct uuid { uint8_t b[16]; };

enum { UUID_TEXT_LEN = 22 };

static inline bool uuid_eq(const struct uuid *a, const struct uuid *b) { return memcmp(a->b, b->b, sizeof a->b) == 0; }
bool uuid_is_zero(const struct uuid *u);
void uuid_to_text(const struct uuid *u, char ret[UUID_TEXT_LEN + 1]);      /* NUL-terminated */
bool uuid_from_text(struct str s, struct uuid *ret);                       /* false when s is not such a text */
/* From the kernel's randomness, never one of the reserved values (0 and 1), never with a text that starts with '-'
 * (such a name looks like an option on a command line). */
struct uuid uuid_random(void);
