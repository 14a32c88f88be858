/* base/diag.h - what the program prints about itself: one line, one event, keys with values, to standard error.
 *
 *     diag(DIAG_WARN, "log.truncated", KV_STR("topic", t->name), KV_U64("bytes", cut));
 *
 * Rate-limited by call site (10 lines a second each; what was left out is counted and said). Payloads and secrets are
 * never in it. The module for per-module levels is the event's first word ("log"). Callable from every thread.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/bytes.h"
#include <stdatomic.h>

enum diag_level { DIAG_ERROR, DIAG_WARN, DIAG_INFO, DIAG_DEBUG };   /* a person is needed; what was done instead; rare; per module */

struct diag_kv { const char *key; enum { DIAG_KV_STR, DIAG_KV_I64, DIAG_KV_U64 } kind; struct str s; int64_t i; uint64_t u; };
#define KV_STR(k, v)  ((struct diag_kv){.key = (k), .kind = DIAG_KV_STR, .s = (v)})
#define KV_CSTR(k, v) KV_STR(k, str_of(v))
#define KV_I64(k, v)  ((struct diag_kv){.key = (k), .kind = DIAG_KV_I64, .i = (int64_t)(v)})
#define KV_U64(k, v)  ((struct diag_kv){.key = (k), .kind = DIAG_KV_U64, .u = (uint64_t)(v)})

struct diag_site { atomic_uint_least64_t second; atomic_uint count, left_out; };
void diag_write(struct diag_site *site, enum diag_level level, const char *event, const struct diag_kv *kv, size_t n);
bool diag_wants(enum diag_level level, const char *event);
/* "info" or "info,broker=debug"; false when it cannot be read (nothing changes then). */
bool diag_set_levels(struct str spec);
void diag_set_json(bool json);                              /* default: logfmt */
void diag_silence(bool on);                                 /* for simulations, whose disks fail all the time: nothing is printed */

#define diag(level, event, ...)                                                                                        \
    do {                                                                                                               \
        static struct diag_site site_;                                                                                 \
        if (diag_wants(level, event)) {                                                                                \
            const struct diag_kv kv_[] = {__VA_ARGS__};                                                                \
            diag_write(&site_, level, event, kv_, countof(kv_));                                                       \
        }                                                                                                              \
    } while (0)
