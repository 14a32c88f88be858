/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/status.h"
#include "net/grpc.h"

int http_status_of(enum rc rc)
{
    switch (rc) {
    case RC_OK: return 200;
    case RC_IO: return 500;
    case RC_CORRUPT: return 500;
    case RC_INVALID: return 400;
    case RC_TOO_LARGE: return 413;
    case RC_NOT_FOUND: return 404;
    case RC_EXISTS: return 409;
    case RC_OVERLOAD: return 429;
    case RC_TIMEOUT: return 504;
    case RC_CANCELLED: return 499;
    case RC_UNAVAILABLE: return 503;
    case RC_DISK_FULL: return 503;
    case RC_LOCKED: return 503;
    case RC_DENIED: return 403;
    case RC_AUTH: return 401;
    case RC_UNSUPPORTED: return 501;
    case RC_UPSTREAM: return 502;
    case RC_UNSELECTED: return 422;
    case RC_FATAL: return 503;
    }
    return 500;
}

int grpc_status_of(enum rc rc)
{
    switch (rc) {
    case RC_OK: return GRPC_OK;
    case RC_IO: return GRPC_INTERNAL;
    case RC_CORRUPT: return GRPC_DATA_LOSS;
    case RC_INVALID: return GRPC_INVALID_ARGUMENT;
    case RC_TOO_LARGE: return GRPC_RESOURCE_EXHAUSTED;
    case RC_NOT_FOUND: return GRPC_NOT_FOUND;
    case RC_EXISTS: return GRPC_ALREADY_EXISTS;
    case RC_OVERLOAD: return GRPC_RESOURCE_EXHAUSTED;
    case RC_TIMEOUT: return GRPC_DEADLINE_EXCEEDED;
    case RC_CANCELLED: return GRPC_CANCELLED;
    case RC_UNAVAILABLE: return GRPC_UNAVAILABLE;
    case RC_DISK_FULL: return GRPC_UNAVAILABLE;
    case RC_LOCKED: return GRPC_UNAVAILABLE;
    case RC_DENIED: return GRPC_PERMISSION_DENIED;
    case RC_AUTH: return GRPC_UNAUTHENTICATED;
    case RC_UNSUPPORTED: return GRPC_UNIMPLEMENTED;
    case RC_UPSTREAM: return GRPC_INTERNAL;
    case RC_UNSELECTED: return GRPC_FAILED_PRECONDITION;
    case RC_FATAL: return GRPC_UNAVAILABLE;
    }
    return GRPC_UNKNOWN;
}

/* A model server's 4xx is the caller's to see; what broke inside it is a bad gateway to the caller. */
static int http_of_model_code(int code)
{
    switch ((enum grpc_code)code) {
    case GRPC_INVALID_ARGUMENT:
    case GRPC_FAILED_PRECONDITION:
    case GRPC_OUT_OF_RANGE: return 400;
    case GRPC_UNAUTHENTICATED: return 401;
    case GRPC_PERMISSION_DENIED: return 403;
    case GRPC_NOT_FOUND: return 404;
    case GRPC_ALREADY_EXISTS:
    case GRPC_ABORTED: return 409;
    case GRPC_RESOURCE_EXHAUSTED: return 429;
    case GRPC_UNAVAILABLE: return 503;
    case GRPC_DEADLINE_EXCEEDED: return 504;
    case GRPC_OK:
    case GRPC_CANCELLED:
    case GRPC_UNKNOWN:
    case GRPC_UNIMPLEMENTED:
    case GRPC_INTERNAL:
    case GRPC_DATA_LOSS: return 502;
    }
    return 502;
}

static struct status of_model(const struct flow_request *r)
{
    int http = r->http_status, code = r->grpc_code;

    if (http >= 400 && http < 500)
        return (struct status){http, code ? code : grpc_code_of_http(http)};
    if (http >= 500) return (struct status){http == 503 ? 503 : 502, code ? code : GRPC_INTERNAL};
    return (struct status){http_of_model_code(code), code};
}

struct status status_of_refusal(enum rc rc, bool seldon)
{
    if (seldon && rc == RC_INVALID) return (struct status){400, GRPC_FAILED_PRECONDITION};
    if (seldon && (rc == RC_NOT_FOUND || rc == RC_UNAVAILABLE))
        return (struct status){500, GRPC_FAILED_PRECONDITION};
    return (struct status){http_status_of(rc), grpc_status_of(rc)};
}

/* The original knows two answers: a step failed, or something around it did. */
static struct status as_seldon(const struct flow_request *r)
{
    return r->step.n ? (struct status){400, GRPC_UNKNOWN} : status_of_refusal(r->err.rc, true);
}

struct status status_of(const struct flow_request *r, bool seldon)
{
    if (r->err.rc == RC_OK) return (struct status){r->accepted ? 202 : 200, GRPC_OK};
    if (seldon) return as_seldon(r);
    if (r->err.rc == RC_UPSTREAM) return of_model(r);
    return (struct status){http_status_of(r->err.rc), grpc_status_of(r->err.rc)};
}

uint32_t retry_after_s(int http_status, uint32_t wanted_ms)
{
    if (http_status != 429 && http_status != 503) return 0;
    return MAX((wanted_ms + 999) / 1000, 1u);
}
