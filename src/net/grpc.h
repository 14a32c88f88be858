/* net/grpc.h - what gRPC puts on top of HTTP/2: five bytes in front of a message, trailers, timeouts, compression.
 *
 * Pure but for allocation. Used by: exchange and h2 (server), upstream (client), gateway (codes). Facts: the public
 * gRPC over HTTP/2 protocol description. SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include "base/err.h"
#include "base/header.h"

enum grpc_code {
    GRPC_OK, GRPC_CANCELLED, GRPC_UNKNOWN, GRPC_INVALID_ARGUMENT, GRPC_DEADLINE_EXCEEDED, GRPC_NOT_FOUND,
    GRPC_ALREADY_EXISTS, GRPC_PERMISSION_DENIED, GRPC_RESOURCE_EXHAUSTED, GRPC_FAILED_PRECONDITION, GRPC_ABORTED,
    GRPC_OUT_OF_RANGE, GRPC_UNIMPLEMENTED, GRPC_INTERNAL, GRPC_UNAVAILABLE, GRPC_DATA_LOSS, GRPC_UNAUTHENTICATED
};
enum { GRPC_FRAME_BYTES = 5, GRPC_TIMEOUT_TEXT_MAX = 16 };

const char *grpc_code_name(int code);                    /* "InvalidArgument", as error texts and metrics write it; "Code(42)" beyond */
int grpc_code_of_http(int status);                       /* for answers that are not gRPC at all */

static inline void grpc_frame_put(uint8_t into[GRPC_FRAME_BYTES], bool compressed, uint32_t n)
{
    into[0] = compressed;
    store_be32(into + 1, n);
}

void grpc_message_encode(struct buf *b, struct str text);        /* percent-encoded, as grpc-message wants it */
void grpc_message_decode(struct buf *b, struct str text);        /* wrong escapes stay as they are */

/* "250m", "30S": milliseconds, rounded up. False: not a timeout. */
bool grpc_timeout_parse(struct str text, uint64_t *ret_ms);
struct str grpc_timeout_text(uint64_t ms, char into[GRPC_TIMEOUT_TEXT_MAX]);

/* gzip, at most bytes_max out. RC_INVALID: damaged. RC_TOO_LARGE. */
enum rc gzip_inflate(struct bytes in, size_t bytes_max, struct buf *ret, struct err *e) MUST_USE;
