/* SPDX-License-Identifier: Apache-2.0 */
#include "kafka/api.h"
#include "kafka/message.h"

const struct kafka_api *kafka_api_of(int16_t key)
{
    return key < 0 || key > KAFKA_API_KEY_MAX || !kafka_api_table[key].name ? NULL : &kafka_api_table[key];
}

const struct kafka_api *kafka_api_next(const struct kafka_api *a)
{
    for (a = a ? a + 1 : kafka_api_table; a <= kafka_api_table + KAFKA_API_KEY_MAX; a++)
        if (a->name) return a;
    return NULL;
}

/* The client id keeps its two-byte length also in the flexible header. */
bool kafka_request_header_decode(struct rd *r, struct kafka_request_header *ret)
{
    r->what = "request header";
    ret->api_key = rd_i16(r);
    ret->api_version = rd_i16(r);
    ret->correlation_id = rd_i32(r);
    ret->client_id = (struct str){0};
    ret->api = r->why == RD_OK ? kafka_api_of(ret->api_key) : NULL;
    if (ret->api) {
        ret->client_id = rd_str_null(r, false, "client_id");
        if (kafka_api_flex(ret->api, ret->api_version)) rd_tags_skip(r);
    }
    r->version = ret->api && kafka_api_flex(ret->api, ret->api_version) ? 2 : 1;
    return r->why == RD_OK;
}

void kafka_request_header_encode(struct wr *w, const struct kafka_request_header *h)
{
    wr_i16(w, h->api_key);
    wr_i16(w, h->api_version);
    wr_i32(w, h->correlation_id);
    wr_str_null(w, false, h->client_id);
    if (h->api && kafka_api_flex(h->api, h->api_version)) wr_uvarint(w, 0);
}

static bool header_has_tags(const struct kafka_api *a, int16_t version)
{
    return a->key != KAFKA_API_VERSIONS && kafka_api_flex(a, version);
}

void kafka_response_header_encode(struct wr *w, const struct kafka_api *a, int16_t version, int32_t correlation_id)
{
    wr_i32(w, correlation_id);
    if (header_has_tags(a, version)) wr_uvarint(w, 0);
}

bool kafka_response_header_decode(struct rd *r, const struct kafka_api *a, int16_t version, int32_t *ret_correlation_id)
{
    *ret_correlation_id = rd_i32(r);
    if (header_has_tags(a, version)) rd_tags_skip(r);
    return r->why == RD_OK;
}

const struct kafka_message *kafka_message_of(enum kafka_message_kind kind, int16_t key)
{
    for (size_t i = 0; i < kafka_messages_n; i++)
        if (kafka_messages[i]->kind == kind && kafka_messages[i]->key == key) return kafka_messages[i];
    return NULL;
}

void rd_message(struct rd *r, const char *what, int16_t version, int16_t min, int16_t max)
{
    r->what = what;
    r->version = version;
    if (version < min || version > max) rd_fail(r, RD_VALUE, (uint64_t)(int64_t)version, "version");
}
