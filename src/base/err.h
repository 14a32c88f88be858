/* base/err.h - why something could not be done.
 *
 * A struct err lives on the caller's stack; setting one cannot fail. It gains a few words on each floor (err_in) and
 * is printed once, by the floor that decides. Numbers of other worlds (Kafka error codes, HTTP and gRPC status) are
 * made from enum rc in one function each, which switch without a default.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/macros.h"
#include <stdarg.h>
#include <stdbool.h>

enum rc {
    RC_OK = 0,
    RC_IO,            /* the disk or the kernel refused */
    RC_CORRUPT,       /* bytes that were ours are damaged */
    RC_INVALID,       /* the asker is wrong: malformed, contradicting, out of range */
    RC_TOO_LARGE,     /* above a configured size limit */
    RC_NOT_FOUND,
    RC_EXISTS,
    RC_OVERLOAD,      /* a ceiling is reached; later it may work */
    RC_TIMEOUT,       /* a deadline passed */
    RC_CANCELLED,     /* the asker went away */
    RC_UNAVAILABLE,   /* something needed is down or not ready */
    RC_DISK_FULL,
    RC_LOCKED,        /* data folder in use by another process */
    RC_DENIED,        /* not allowed */
    RC_AUTH,          /* not authenticated */
    RC_UNSUPPORTED,   /* known, but not to be had here */
    RC_UPSTREAM,      /* a model server answered with an error */
    RC_UNSELECTED,    /* the conditions of a pipeline selected nothing */
    RC_FATAL          /* this data folder stops acknowledging until a restart */
};

struct err { enum rc rc; int sys; bool retry; char text[488]; };

enum rc err_set(struct err *e, enum rc rc, const char *fmt, ...) PRINTF(3, 4);  /* a new cause; returns rc */
enum rc err_sys(struct err *e, const char *fmt, ...) PRINTF(2, 3);              /* … out of errno: RC_IO, RC_DISK_FULL, RC_NOT_FOUND, RC_EXISTS, RC_DENIED */
enum rc err_in(struct err *e, const char *fmt, ...) PRINTF(2, 3);               /* puts "where: " in front; returns e->rc */
enum rc err_more(struct err *e, const char *fmt, ...) PRINTF(2, 3);             /* puts "; what to do" behind; returns e->rc */
/* For an err that is a result and lives on: what something left behind that succeeded in the end is forgotten. Returns rc. */
static inline enum rc err_keep(enum rc rc, struct err *e)
{
    if (!rc) *e = (struct err){.rc = RC_OK};
    return rc;
}
const char *rc_name(enum rc rc);                                                /* "io", "corrupt", … for logs and metrics */
