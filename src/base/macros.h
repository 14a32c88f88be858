/* base/macros.h - the few macros the whole tree uses, and allocation that cannot fail.
 *
 * must() is kept in release builds: a broken invariant ends the process with the expression and a backtrace.
 * xnew and friends are for memory whose size we bound ourselves; memory whose size a peer chose comes from an
 * arena with a limit (base/arena.h), which may say no.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define MUST_USE             __attribute__((warn_unused_result))
#define PRINTF(fmt, first)   __attribute__((format(printf, fmt, first)))
#define NORETURN             __attribute__((noreturn))
#define AUTO(fn)             __attribute__((cleanup(fn)))
#define UNUSED               __attribute__((unused))
#define LIKELY(x)            __builtin_expect(!!(x), 1)
#define UNLIKELY(x)          __builtin_expect(!!(x), 0)
#define countof(a)           (sizeof(a) / sizeof((a)[0]))
#define container_of(p, t, m) ((t *)(void *)((char *)(p)-offsetof(t, m)))

/* Both evaluate the smaller or larger one twice: no calls with effects in them. */
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

NORETURN void must_failed(const char *expr, const char *file, int line);
#define must(cond) (LIKELY(cond) ? (void)0 : must_failed(#cond, __FILE__, __LINE__))

/* Zeroed memory; ends the process when there is none. n * size is checked for overflow. */
void *xcalloc(size_t n, size_t size) MUST_USE __attribute__((malloc));
void *xrealloc(void *p, size_t n, size_t size) MUST_USE;
char *xstrdup(const char *s) MUST_USE;
#define xnew(type)        ((type *)xcalloc(1, sizeof(type)))
#define xnew_array(type, n) ((type *)xcalloc((n), sizeof(type)))
