/* Design note: backtrace_symbols_fd allocates nothing, so must_failed() works with a broken heap.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/macros.h"
#include <execinfo.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void must_failed(const char *expr, const char *file, int line)
{
    void *frames[64];

    fprintf(stderr, "level=error event=bug must=\"%s\" at=%s:%d\n", expr, file, line);
    backtrace_symbols_fd(frames, backtrace(frames, (int)countof(frames)), STDERR_FILENO);
    abort();
}

static NORETURN void out_of_memory(size_t n, size_t size)
{
    fprintf(stderr, "level=error event=memory.exhausted wanted=%zu*%zu\n", n, size);
    abort();
}

void *xcalloc(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size ? size : 1);

    if (!p) out_of_memory(n, size);
    return p;
}

void *xrealloc(void *p, size_t n, size_t size)
{
    void *q = reallocarray(p, n ? n : 1, size ? size : 1);

    if (!q) out_of_memory(n, size);
    return q;
}

char *xstrdup(const char *s)
{
    size_t n = strlen(s) + 1;

    return memcpy(xcalloc(1, n), s, n);
}
