/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base64.h"

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(struct bytes data, struct buf *ret)
{
    size_t i = 0;
    uint8_t *p = buf_grow(ret, (data.n + 2) / 3 * 4);

    for (; data.n - i >= 3; i += 3, p += 4) {
        uint32_t v = (uint32_t)data.p[i] << 16 | (uint32_t)data.p[i + 1] << 8 | data.p[i + 2];

        p[0] = (uint8_t)letters[v >> 18];
        p[1] = (uint8_t)letters[v >> 12 & 63];
        p[2] = (uint8_t)letters[v >> 6 & 63];
        p[3] = (uint8_t)letters[v & 63];
    }
    if (i < data.n) {
        bool two = data.n - i == 2;
        uint32_t v = (uint32_t)data.p[i] << 16 | (two ? (uint32_t)data.p[i + 1] << 8 : 0);

        p[0] = (uint8_t)letters[v >> 18];
        p[1] = (uint8_t)letters[v >> 12 & 63];
        p[2] = two ? (uint8_t)letters[v >> 6 & 63] : '=';
        p[3] = '=';
    }
}

/* Value of a letter, above 63 for anything else. */
static uint8_t value_of(char c)
{
    if (c >= 'A' && c <= 'Z') return (uint8_t)(c - 'A');
    if (c >= 'a' && c <= 'z') return (uint8_t)(c - 'a' + 26);
    if (c >= '0' && c <= '9') return (uint8_t)(c - '0' + 52);
    return c == '+' ? 62 : c == '/' ? 63 : 64;
}

bool base64_decode(struct str text, struct buf *ret)
{
    size_t start = ret->n, pad = 0, full;
    uint8_t *p;

    if (text.n % 4) return false;
    if (text.n) pad = text.p[text.n - 2] == '=' ? 2 : text.p[text.n - 1] == '=';
    full = text.n - pad;
    p = buf_grow(ret, text.n / 4 * 3 - pad);
    for (size_t i = 0; i < text.n; i += 4) {
        uint32_t v = 0, bad = 0;
        size_t n = MIN(full - i, (size_t)4);

        for (size_t k = 0; k < 4; k++) {
            uint8_t x = k < n ? value_of(text.p[i + k]) : text.p[i + k] == '=' ? 0 : 64;

            bad |= x & 64;
            v = v << 6 | x;
        }
        if (bad || (n == 2 && (v & 0xffff)) || (n == 3 && (v & 0xff))) {
            ret->n = start;
            return false;
        }
        *p++ = (uint8_t)(v >> 16);
        if (n > 2) *p++ = (uint8_t)(v >> 8);
        if (n > 3) *p++ = (uint8_t)v;
    }
    return true;
}
