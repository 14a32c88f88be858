/* Design note: the algorithm is that of Aumasson and Bernstein, "SipHash: a fast short-input PRF", with the 128-bit
 * extension of its authors; tests/unit/base/bytes_test.c has their vectors.   SPDX-License-Identifier: Apache-2.0 */
#include "base/sip.h"

struct state { uint64_t a, b, c, d; };

static uint64_t turn(uint64_t x, int n) { return (x << n) | (x >> (64 - n)); }

static void rounds(struct state *s, int n)
{
    while (n-- > 0) {
        s->a += s->b, s->b = turn(s->b, 13) ^ s->a, s->a = turn(s->a, 32);
        s->c += s->d, s->d = turn(s->d, 16) ^ s->c;
        s->a += s->d, s->d = turn(s->d, 21) ^ s->a;
        s->c += s->b, s->b = turn(s->b, 17) ^ s->c, s->c = turn(s->c, 32);
    }
}

static void take(struct state *s, uint64_t word)
{
    s->d ^= word;
    rounds(s, 2);
    s->a ^= word;
}

struct sip_hash sip128(struct bytes in, const struct sip_key *key)
{
    struct state    s = {key->k0 ^ 0x736f6d6570736575, key->k1 ^ 0x646f72616e646f6d ^ 0xee, key->k0 ^ 0x6c7967656e657261, key->k1 ^ 0x7465646279746573};
    struct sip_hash out;
    uint64_t        last = (uint64_t)in.n << 56;
    size_t          at = 0;

    for (; at + 8 <= in.n; at += 8) take(&s, load_le64(in.p + at));
    for (size_t i = at; i < in.n; i++) last |= (uint64_t)in.p[i] << (8 * (i - at));
    take(&s, last);
    s.c ^= 0xee;
    rounds(&s, 4);
    out.lo = s.a ^ s.b ^ s.c ^ s.d;
    s.b ^= 0xdd;
    rounds(&s, 4);
    out.hi = s.a ^ s.b ^ s.c ^ s.d;
    return out;
}
