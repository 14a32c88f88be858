/* tests/support/kafka_call.h - requests and answers as the schema's structs, over a connection of the broker rig.
 *
 *     struct heartbeat_response *a = call(&conn, KAFKA_HEARTBEAT, 4, &(struct heartbeat_request){…}, &arena);
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "broker_rig.h"
#include "kafka/message.h"

/* Encodes and sends; settles. The client is called "test". */
void call_send(struct rig_conn *c, int16_t key, int16_t version, const void *request);
/* The next answer on that connection, which must be one to such a request. In the arena; NULL: there is none (yet). */
void *call_answer(struct rig_conn *c, int16_t key, int16_t version, struct arena *a);
void *call(struct rig_conn *c, int16_t key, int16_t version, const void *request, struct arena *a);
