/* What it costs to look up whether somebody may write to a topic:
 *
 *     acl_bench ENTRIES           that many entries: half with a topic's name, half with the beginning of one, for many principals
 *
 * Prints one JSON line with nanoseconds a decision. SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "broker/acl.h"
#include "sys/clock.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS = 2000000, PRINCIPALS = 100, PREFIX_LENGTHS = 12 };

/* Prefixes of several lengths: each length in use costs a look. */
static void fill(struct acls *a, size_t n)
{
    AUTO(buf_fini) struct buf name = {0}, principal = {0};

    for (size_t i = 0; i < n; i++) {
        struct acl one = {.type = ACL_TOPIC, .pattern = ACL_LITERAL, .operation = ACL_WRITE, .permission = ACL_ALLOW, .host = STR("*")};

        buf_clear(&name);
        buf_clear(&principal);
        if (i % 2) {
            one.pattern = ACL_PREFIXED;
            buf_printf(&name, "%0*zu-", (int)(6 + i / 2 % PREFIX_LENGTHS), i);
        } else {
            buf_printf(&name, "topic-%zu", i);
        }
        buf_printf(&principal, "User:user-%zu", i / 2 % PRINCIPALS);
        one.name = buf_str(&name);
        one.principal = buf_str(&principal);
        if (!acls_add(a, &one)) abort();
    }
}

/* Every other question is one that nothing allows. */
static double ask(const struct acls *a, size_t n)
{
    AUTO(buf_fini) struct buf names = {0};
    struct str *topics = xcalloc(1024, sizeof *topics), *who = xcalloc(1024, sizeof *who);
    size_t at[2048], allowed = 0;
    uint64_t begun;

    for (size_t k = 0; k < 1024; k++) {
        size_t i = k * 7919 % n / 2 * 2;

        at[2 * k] = names.n;
        buf_printf(&names, "topic-%zu", i);
        at[2 * k + 1] = names.n;
        buf_printf(&names, "User:user-%zu", (i / 2 + k % 2) % PRINCIPALS);
    }
    for (size_t k = 0; k < 1024; k++) {
        size_t end = k == 1023 ? names.n : at[2 * k + 2];

        topics[k] = (struct str){(char *)names.p + at[2 * k], at[2 * k + 1] - at[2 * k]};
        who[k] = (struct str){(char *)names.p + at[2 * k + 1], end - at[2 * k + 1]};
    }
    begun = clock_mono_us(&clock_real);
    for (size_t r = 0; r < ROUNDS; r++)
        allowed += acls_allow(a, who[r % 1024], STR("10.0.0.1"), ACL_WRITE, ACL_TOPIC, topics[r % 1024]);
    begun = clock_mono_us(&clock_real) - begun;
    if (allowed < ROUNDS / 2 - 1024 || allowed > ROUNDS / 2 + 1024) {
        fprintf(stderr, "acl_bench: %zu of %d were allowed, which is not half\n", allowed, ROUNDS);
        exit(1);
    }
    free(topics);
    free(who);
    return (double)begun * 1000 / ROUNDS;
}

int main(int argc, char **argv)
{
    struct acls a = {.on = true};
    size_t n = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;

    if (n < 2) {
        fprintf(stderr, "usage: acl_bench ENTRIES\n");
        return 2;
    }
    fill(&a, n);
    printf("{\"entries\":%zu,\"ns\":%.0f}\n", n, ask(&a, n));
    acls_fini(&a);
    return 0;
}
