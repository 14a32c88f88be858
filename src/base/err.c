/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum rc err_set(struct err *e, enum rc rc, const char *fmt, ...)
{
    va_list ap;

    e->rc = rc;
    e->sys = 0;
    e->retry = rc == RC_OVERLOAD || rc == RC_UNAVAILABLE || rc == RC_DISK_FULL;
    va_start(ap, fmt);
    vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    return rc;
}

static enum rc rc_of_errno(int sys)
{
    switch (sys) {
    case ENOSPC:
    case EDQUOT: return RC_DISK_FULL;
    case ENOENT: return RC_NOT_FOUND;
    case EEXIST: return RC_EXISTS;
    case EACCES:
    case EPERM: return RC_DENIED;
    case ETIMEDOUT: return RC_TIMEOUT;
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
    case EHOSTUNREACH:
    case ENETUNREACH: return RC_UNAVAILABLE;
    default: return RC_IO;
    }
}

enum rc err_sys(struct err *e, const char *fmt, ...)
{
    int sys = errno;
    va_list ap;
    int n;

    e->rc = rc_of_errno(sys);
    e->sys = sys;
    e->retry = e->rc == RC_UNAVAILABLE || e->rc == RC_DISK_FULL;
    va_start(ap, fmt);
    n = vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof e->text)
        snprintf(e->text + n, sizeof e->text - (size_t)n, ": %s", strerror(sys));
    return e->rc;
}

enum rc err_more(struct err *e, const char *fmt, ...)
{
    size_t n = strlen(e->text);
    va_list ap;

    va_start(ap, fmt);
    if (n + 2 < sizeof e->text) {
        memcpy(e->text + n, "; ", 2);
        vsnprintf(e->text + n + 2, sizeof e->text - n - 2, fmt, ap);
    }
    va_end(ap);
    return e->rc;
}

enum rc err_in(struct err *e, const char *fmt, ...)
{
    char tail[sizeof e->text];
    va_list ap;
    int n;

    memcpy(tail, e->text, sizeof tail);
    va_start(ap, fmt);
    n = vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    if (n >= 0 && (size_t)n < sizeof e->text)
        snprintf(e->text + n, sizeof e->text - (size_t)n, ": %.*s", (int)(sizeof tail - 1), tail);
    return e->rc;
}

const char *rc_name(enum rc rc)
{
    switch (rc) {
    case RC_OK: return "ok";
    case RC_IO: return "io";
    case RC_CORRUPT: return "corrupt";
    case RC_INVALID: return "invalid";
    case RC_TOO_LARGE: return "too_large";
    case RC_NOT_FOUND: return "not_found";
    case RC_EXISTS: return "exists";
    case RC_OVERLOAD: return "overload";
    case RC_TIMEOUT: return "timeout";
    case RC_CANCELLED: return "cancelled";
    case RC_UNAVAILABLE: return "unavailable";
    case RC_DISK_FULL: return "disk_full";
    case RC_LOCKED: return "locked";
    case RC_DENIED: return "denied";
    case RC_AUTH: return "auth";
    case RC_UNSUPPORTED: return "unsupported";
    case RC_UPSTREAM: return "upstream";
    case RC_UNSELECTED: return "unselected";
    case RC_FATAL: return "fatal";
    }
    return "unknown";
}
