/* base/library.h - a shared library that is loaded with its first use, so that a process that has none for it pays nothing
 * (docs/adr/0003-loaded-on-first-use.md).
 *
 * A struct library is static, one for each library, with a table of function pointers to fill: fields have the types of the
 * library's own header (__typeof__), so a wrong call does not compile.
 * Used by: kafka/compress.c, net/curl.c, bus/remote_lib.c, upstream/xgb.c.     SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/err.h"
#include <pthread.h>
#include <stdatomic.h>

struct library_function { const char *name; size_t at; };          /* `at`: where in the table its address goes */

struct library {
    const char *file, *package;                                    /* libx.so.1; what Debian calls its package */
    const struct library_function *functions;
    size_t functions_n;
    void *table;
    pthread_mutex_t lock;
    atomic_bool ready;
};
#define LIBRARY(file_, package_, functions_, table_)                                                                      \
    {.file = (file_), .package = (package_), .functions = (functions_), .functions_n = countof(functions_),               \
     .table = (table_), .lock = PTHREAD_MUTEX_INITIALIZER}

/* The table is filled. From any thread. RC_UNSUPPORTED: it is not installed, or too old; asked again, it is looked for again. */
enum rc library_get(struct library *l, struct err *e) MUST_USE;
