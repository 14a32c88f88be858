/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes.h"
#include <stdlib.h>
#include <strings.h>

bool str_starts(struct str s, struct str prefix)
{
    return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

bool str_ends(struct str s, struct str suffix)
{
    return s.n >= suffix.n &&
           (suffix.n == 0 || memcmp(s.p + s.n - suffix.n, suffix.p, suffix.n) == 0);
}

bool str_eq_nocase(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || strncasecmp(a.p, b.p, a.n) == 0);
}

int str_cmp(struct str a, struct str b)
{
    size_t n = MIN(a.n, b.n);
    int c = n ? memcmp(a.p, b.p, n) : 0;

    return c ? c : (a.n > b.n) - (a.n < b.n);
}

bool str_to_i64(struct str s, int64_t *ret)
{
    bool negative = s.n && s.p[0] == '-';
    size_t i = negative || (s.n && s.p[0] == '+') ? 1 : 0;
    int64_t v = 0;

    if (i == s.n) return false;
    for (; i < s.n; i++) {
        int digit = s.p[i] - '0';

        if (digit < 0 || digit > 9) return false;
        if (__builtin_mul_overflow(v, 10, &v)) return false;
        if (__builtin_sub_overflow(v, digit, &v)) return false; /* counts down: INT64_MIN fits */
    }
    if (!negative && v == INT64_MIN) return false;
    *ret = negative ? v : -v;
    return true;
}

bool str_cut(struct str s, char c, struct str *head, struct str *tail)
{
    const char *at = s.n ? memchr(s.p, c, s.n) : NULL;

    if (!at) {
        *head = s;
        *tail = (struct str){s.p + s.n, 0};
        return false;
    }
    *head = (struct str){s.p, (size_t)(at - s.p)};
    *tail = (struct str){at + 1, s.n - head->n - 1};
    return true;
}

struct bytes bytes_sub(struct bytes b, size_t from, size_t n)
{
    must(from <= b.n && n <= b.n - from);
    return (struct bytes){from ? b.p + from : b.p, n};      /* nothing is added to a null pointer */
}

struct str decimal(uint64_t v, char into[DECIMAL_MAX])
{
    size_t at = DECIMAL_MAX;

    do {
        into[--at] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    return (struct str){into + at, DECIMAL_MAX - at};
}

struct str str_trim(struct str s)
{
    while (s.n && (unsigned char)s.p[0] <= ' ')
        s.p++, s.n--;
    while (s.n && (unsigned char)s.p[s.n - 1] <= ' ')
        s.n--;
    return s;
}

struct str str_own(struct str s)
{
    char *p;

    if (!s.p) return (struct str){0};
    p = xnew_array(char, s.n + 1);
    if (s.n) memcpy(p, s.p, s.n);
    return (struct str){p, s.n};
}

void str_drop(struct str *s)
{
    free((char *)(uintptr_t)s->p);
    *s = (struct str){0};
}
