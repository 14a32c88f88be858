/* broker/request_core.h - what request.c and conn.c share; nobody else includes it. SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "broker/api.h"

enum {
    REQUESTS_PER_CONN_MAX = 4096,        /* answered, but not yet durable */
    REPLY_BYTES_PER_CONN_MAX = 4 << 20,  /* on their way out: above it no request of that connection begins */
};

struct request *request_new(struct broker *b);
/* Behind those of its connection that came before; counted until request_free(). */
void request_queue(struct request *r, struct broker_conn *c);
void request_free(struct request *r);
void request_unpark(struct request *r);                  /* nothing where it is not parked */
/* The answer to a version of ApiVersions that we do not have: version 0's body with our range, in any version asked. */
void request_answer_unknown_version(struct request *r);
void conn_ready(struct broker_conn *c);                  /* replies_release() is to look at it */
