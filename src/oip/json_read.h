/* oip/json_read.h - inside oip/: a JSON tokenizer over one body, strict (RFC 8259) and without a tree.
 *
 * The first failure fills *e ("… (at byte N)") and sets `failed`; afterwards everything returns false, so loops end and
 * are checked once. Strings are views into the body, or arena copies when they had escapes.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"

struct json_reader {
    const char   *start, *p, *end;
    struct arena *arena;
    struct err   *e;
    unsigned      depth;
    bool          failed;
};

/* Always returns false. The position is where j->p stands. */
bool json_read_fail(struct json_reader *j, enum rc rc, const char *fmt, ...) PRINTF(3, 4);

static inline void json_read_space(struct json_reader *j)
{
    while (j->p < j->end && (*j->p == ' ' || *j->p == '\n' || *j->p == '\r' || *j->p == '\t')) j->p++;
}
/* The next byte that is no white space, 0 at the end. */
static inline char json_read_peek(struct json_reader *j)
{
    json_read_space(j);
    return j->p < j->end ? *j->p : 0;
}
static inline bool json_read_take(struct json_reader *j, char c)
{
    if (j->failed || json_read_peek(j) != c || j->p == j->end) return false;
    j->p++;
    return true;
}
bool json_read_want(struct json_reader *j, char c);
bool json_read_word(struct json_reader *j, const char *word);          /* takes it if it is next; does not fail */

/* bool first = true; while (json_read_object(&j, &first, &key)) … one value …; then check j.failed. The opening bracket
 * is taken by the first call. */
bool json_read_object(struct json_reader *j, bool *first, struct str *ret_key);
bool json_read_array(struct json_reader *j, bool *first);

bool json_read_string(struct json_reader *j, struct str *ret);
bool json_read_string_into(struct json_reader *j, struct buf *b);
bool json_read_skip(struct json_reader *j, struct str *ret_text);      /* one whole value; its text without outer white space */
