/* gateway/status.h - what callers are told: causes become HTTP and gRPC status here and nowhere else.
 * Pure. Used by: gateway.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "flow/flow.h"

int http_status_of(enum rc rc);
int grpc_status_of(enum rc rc);

struct status { int http, grpc; };
/* Of a run that ended: a model's own code where a model answered. seldon: the mapping of the original. */
struct status status_of(const struct flow_request *r, bool seldon);
/* Of a request refused before it became a run. */
struct status status_of_refusal(enum rc rc, bool seldon);
/* Whole seconds for Retry-After, at least 1; 0: no such header with this status. */
uint32_t retry_after_s(int http_status, uint32_t wanted_ms);
