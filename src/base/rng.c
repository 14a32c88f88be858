/* xoshiro256**, seeded by splitmix64. SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"
#include <stdatomic.h>
#include <sys/random.h>

static uint64_t rotl(uint64_t x, int k)
{
    return x << k | x >> (64 - k);
}

void rng_init(struct rng *r, uint64_t seed)
{
    for (size_t i = 0; i < countof(r->s); i++) {
        uint64_t z = seed += 0x9e3779b97f4a7c15ULL;

        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
        r->s[i] = z ^ z >> 31;
    }
}

uint64_t rng_u64(struct rng *r)
{
    uint64_t *s = r->s, result = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

uint64_t rng_below(struct rng *r, uint64_t n)
{
    must(n > 0);
    return (uint64_t)((__uint128_t)rng_u64(r) * n >> 64);
}

void rng_bytes(struct rng *r, void *p, size_t n)
{
    for (uint8_t *q = p; n;) {
        uint64_t v = rng_u64(r);
        size_t k = MIN(n, sizeof v);

        memcpy(q, &v, k);
        q += k;
        n -= k;
    }
}

static struct {
    bool on;
    uint64_t seed;
    struct rng rng;
} simulated;

void random_simulate(uint64_t seed)
{
    simulated.on = true;
    simulated.seed = seed | 1;
    rng_init(&simulated.rng, seed);
}

void random_bytes(void *p, size_t n)
{
    if (simulated.on) {
        rng_bytes(&simulated.rng, p, n);
        return;
    }
    for (uint8_t *q = p; n;) {
        ssize_t k = getrandom(q, MIN(n, (size_t)256), 0);

        must(k > 0);
        q += k;
        n -= (size_t)k;
    }
}

uint64_t process_seed(void)
{
    static _Atomic uint64_t seed;
    uint64_t s = simulated.on ? simulated.seed
                              : atomic_load_explicit(&seed, memory_order_relaxed);

    if (s) return s;
    random_bytes(&s, sizeof s);
    s |= 1;
    uint64_t expected = 0;

    return atomic_compare_exchange_strong(&seed, &expected, s) ? s : expected;
}
