/* SPDX-License-Identifier: Apache-2.0 */
#include "base/uuid.h"
#include "base/rng.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

bool uuid_is_zero(const struct uuid *u)
{
    static const struct uuid zero;

    return uuid_eq(u, &zero);
}

void uuid_to_text(const struct uuid *u, char ret[UUID_TEXT_LEN + 1])
{
    uint32_t group = 0;
    int      bits = 0;
    char    *at = ret;

    for (size_t i = 0; i < sizeof u->b; i++) {
        group = group << 8 | u->b[i];
        for (bits += 8; bits >= 6; bits -= 6) *at++ = digits[group >> (bits - 6) & 63];
    }
    *at++ = digits[group << (6 - bits) & 63];
    *at = '\0';
}

bool uuid_from_text(struct str s, struct uuid *ret)
{
    struct uuid u;
    uint32_t    group = 0;
    int         bits = 0;
    size_t      n = 0;

    if (s.n != UUID_TEXT_LEN) return false;
    for (size_t i = 0; i < s.n; i++) {
        const char *digit = s.p[i] ? strchr(digits, s.p[i]) : NULL;

        if (!digit) return false;
        group = group << 6 | (uint32_t)(digit - digits);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            u.b[n++] = (uint8_t)(group >> bits);
        }
    }
    if (group & ((1u << bits) - 1)) return false;      /* the last digit carries four bits that must be zero */
    *ret = u;
    return true;
}

struct uuid uuid_random(void)
{
    struct uuid u;

    do {
        random_bytes(u.b, sizeof u.b);
    } while (u.b[0] >> 2 == 62 || load_be64(u.b) == 0);
    return u;
}
