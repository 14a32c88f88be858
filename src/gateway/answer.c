/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/internal.h"
#include "oip/json.h"

static const struct header json_type = {STR("content-type"), STR("application/json")};

void answer_json(struct exchange *x, int status, struct buf *body)
{
    exchange_respond(x, status, &json_type, 1, body);
}

void answer_empty(struct exchange *x, int status)
{
    exchange_respond(x, status, NULL, 0, NULL);
}

void answer_message(struct exchange *x, struct buf *message)
{
    exchange_respond_grpc(x, &(struct grpc_reply){.status = GRPC_OK}, message);
}

void error_body(struct str text, struct buf *ret)
{
    buf_append_str(ret, STR("{\"error\":"));
    json_put_str(ret, text);
    buf_append_str(ret, STR("}"));
}

void answer_error(struct exchange *x, int http, int grpc, struct str text, uint32_t retry_ms)
{
    uint32_t after = retry_after_s(http, retry_ms);
    struct header h[2] = {json_type};
    struct buf body = {0};
    char digits[DECIMAL_MAX];

    if (x->grpc) {
        if (after) h[0] = HEADER("retry-after", decimal(after, digits));
        exchange_respond_grpc(x, &(struct grpc_reply){.status = grpc, .message = text, .headers = h, .headers_n = after ? 1 : 0}, NULL);
        return;
    }
    error_body(text, &body);
    if (after) h[1] = HEADER("retry-after", decimal(after, digits));
    exchange_respond(x, http, h, after ? 2 : 1, &body);
}

void answer_err(struct exchange *x, const struct err *e)
{
    answer_error(x, http_status_of(e->rc), grpc_status_of(e->rc), str_of(e->text), 0);
}
