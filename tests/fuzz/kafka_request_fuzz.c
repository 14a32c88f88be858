/* tests/fuzz/kafka_request_fuzz.c - every decoder of the schema. The first byte says what follows:
 * 0 a request with its header, 1 {i16 key, i16 version} and a response with its header, 2 {u8 number, u8 version} and data.
 * What can be read is written, read again, and must then be written to the same bytes.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "kafka/msg/all.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ARENA_BYTES_PER_BYTE = 40 };

static bool decode(const struct kafka_message *m, int16_t version, struct bytes in, struct arena *a, void *ret)
{
    struct rd  r;
    struct err e;
    bool       ok;

    rd_init(&r, in);
    ok = m->decode(&r, version, a, ret);
    if (!ok) must(rd_err(&r, &e) == RC_INVALID);
    must(a->used <= ARENA_BYTES_PER_BYTE * (in.n + 16));
    return ok;
}

static void body(const struct kafka_message *m, int16_t version, struct bytes in)
{
    AUTO(buf_fini) struct buf once = {0}, twice = {0};
    struct arena              a = {0}, b = {0};
    struct wr                 w;
    void                     *first = xcalloc(1, m->size), *second = xcalloc(1, m->size);

    if (decode(m, version, in, &a, first)) {
        wr_init(&w, &once);
        must(m->encode(&w, version, first));
        must(decode(m, version, buf_view(&once), &b, second));
        wr_init(&w, &twice);
        must(m->encode(&w, version, second));
        must(bytes_eq(buf_view(&once), buf_view(&twice)));
    }
    free(first);
    free(second);
    arena_fini(&a);
    arena_fini(&b);
}

static void request(struct rd *r)
{
    struct kafka_request_header h;

    if (!kafka_request_header_decode(r, &h) || !h.api || !kafka_api_has(h.api, h.api_version)) return;
    body(kafka_message_of(KAFKA_MESSAGE_REQUEST, h.api_key), h.api_version, bytes_of(r->p, rd_left(r)));
}

static void response(struct rd *r)
{
    const struct kafka_api *api = kafka_api_of(rd_i16(r));
    int16_t                 version = rd_i16(r);
    int32_t                 id;

    if (!api || !kafka_api_has(api, version) || !kafka_response_header_decode(r, api, version, &id)) return;
    body(kafka_message_of(KAFKA_MESSAGE_RESPONSE, api->key), version, bytes_of(r->p, rd_left(r)));
}

static void record(struct rd *r)
{
    uint8_t number = (uint8_t)rd_i8(r), version = (uint8_t)rd_i8(r);

    for (size_t i = 0; i < kafka_messages_n; i++) {
        const struct kafka_message *m = kafka_messages[i];

        if (m->kind != KAFKA_MESSAGE_DATA || number--) continue;
        if (version >= m->min && version <= m->max) body(m, version, bytes_of(r->p, rd_left(r)));
        return;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rd r;

    rd_init(&r, bytes_of(data, size));
    switch (rd_i8(&r)) {
    case 0: request(&r); break;
    case 1: response(&r); break;
    case 2: record(&r); break;
    }
    return 0;
}
