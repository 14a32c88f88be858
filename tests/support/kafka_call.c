/* SPDX-License-Identifier: Apache-2.0 */
#include "kafka_call.h"

void call_send(struct rig_conn *c, int16_t key, int16_t version, const void *request)
{
    const struct kafka_message *m = kafka_message_of(KAFKA_MESSAGE_REQUEST, key);
    AUTO(buf_fini) struct buf frame = {0};
    struct kafka_request_header h = {.api_key = key,
                                     .api_version = version,
                                     .correlation_id = 7,
                                     .client_id = STR("test"),
                                     .api = kafka_api_of(key)};
    struct wr w;
    size_t begun;

    wr_init(&w, &frame);
    begun = wr_frame_begin(&w);
    kafka_request_header_encode(&w, &h);
    must(m && m->encode(&w, version, request));
    wr_frame_end(&w, begun);
    wr_fini(&w);
    rig_send(c, buf_view(&frame));
}

void *call_answer(struct rig_conn *c, int16_t key, int16_t version, struct arena *a)
{
    const struct kafka_message *m = kafka_message_of(KAFKA_MESSAGE_RESPONSE, key);
    AUTO(buf_fini) struct buf frame = {0};
    int32_t correlation_id;
    void *ret;
    struct rd r;

    if (!rig_answer(c, &frame)) return NULL;
    rd_init(&r, bytes_sub(arena_dup(a, buf_view(&frame)), 4, frame.n - 4));
    must(kafka_response_header_decode(&r, kafka_api_of(key), version, &correlation_id) &&
         correlation_id == 7);
    ret = arena_alloc(a, m->size);
    must(m->decode(&r, version, a, ret) && rd_left(&r) == 0);
    return ret;
}

void *call(struct rig_conn *c, int16_t key, int16_t version, const void *request, struct arena *a)
{
    call_send(c, key, version, request);
    return call_answer(c, key, version, a);
}
