/* control/api.h - management over HTTP, on the inference port under /millrace/v1/. JSON out, YAML or JSON in.
 *
 *   POST   apply[?check=true]                body: documents. 200 {"results":[…],"warnings":[…]}; 400 {"error":…,"problems":[…]}
 *   GET    resources · servers · models · pipelines · {kind}/{name}     with "ready" and "status" from live probes
 *   DELETE {kind}/{name}[?force=true]
 *   GET    info · topics[?all=true] · topics/{topic}/records[?partition=&offset=&limit=]
 *   GET    trace/{request id}[?pipeline=] · inspect/{expression}[?limit=]
 *   POST   kafka[?node=N|controller]  one request in Kafka's protocol without its size, answered likewise (application/octet-stream):
 *          what administration needs and has no page of its own (bus_ask); commands are made of it
 * Errors: {"error": "…"}. Who may ask is decided before, by the gateway.
 * One per gateway loop; everything is called on that loop. Used by: app.     SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "control/control.h"

struct exchange;
struct flow;
struct control_api;

#define CONTROL_API_PREFIX "/millrace/v1/"

struct control_api *control_api_new(struct loop *l, struct control *c, struct flow *f, struct str version);
/* A handler for gateway_route(): ctx is the control_api. */
void control_api_request(void *ctx, struct exchange *x);
/* After control has stopped and the loop has run what was posted to it. NULL is fine; returns NULL. */
struct control_api *control_api_free(struct control_api *api);
