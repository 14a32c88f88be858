/* SPDX-License-Identifier: Apache-2.0 */
#include "net/grpc.h"
#include <isa-l/igzip_lib.h>

static const char *const code_names[] = {
    [GRPC_OK] = "OK",
    [GRPC_CANCELLED] = "Canceled",
    [GRPC_UNKNOWN] = "Unknown",
    [GRPC_INVALID_ARGUMENT] = "InvalidArgument",
    [GRPC_DEADLINE_EXCEEDED] = "DeadlineExceeded",
    [GRPC_NOT_FOUND] = "NotFound",
    [GRPC_ALREADY_EXISTS] = "AlreadyExists",
    [GRPC_PERMISSION_DENIED] = "PermissionDenied",
    [GRPC_RESOURCE_EXHAUSTED] = "ResourceExhausted",
    [GRPC_FAILED_PRECONDITION] = "FailedPrecondition",
    [GRPC_ABORTED] = "Aborted",
    [GRPC_OUT_OF_RANGE] = "OutOfRange",
    [GRPC_UNIMPLEMENTED] = "Unimplemented",
    [GRPC_INTERNAL] = "Internal",
    [GRPC_UNAVAILABLE] = "Unavailable",
    [GRPC_DATA_LOSS] = "DataLoss",
    [GRPC_UNAUTHENTICATED] = "Unauthenticated",
};

const char *grpc_code_name(int code)
{
    return code >= 0 && (size_t)code < countof(code_names) ? code_names[code] : "Unknown";
}

int grpc_code_of_http(int status)
{
    switch (status) {
    case 200: return GRPC_OK;
    case 400: return GRPC_INVALID_ARGUMENT;
    case 401: return GRPC_UNAUTHENTICATED;
    case 403: return GRPC_PERMISSION_DENIED;
    case 404: return GRPC_NOT_FOUND;
    case 409: return GRPC_ALREADY_EXISTS;
    case 412: return GRPC_FAILED_PRECONDITION;
    case 413:
    case 429: return GRPC_RESOURCE_EXHAUSTED;
    case 422: return GRPC_INVALID_ARGUMENT;
    case 499: return GRPC_CANCELLED;
    case 501: return GRPC_UNIMPLEMENTED;
    case 502:
    case 503: return GRPC_UNAVAILABLE;
    case 504: return GRPC_DEADLINE_EXCEEDED;
    case 500: return GRPC_INTERNAL;
    default: return GRPC_UNKNOWN;
    }
}

void grpc_message_encode(struct buf *b, struct str text)
{
    for (size_t i = 0; i < text.n; i++) {
        uint8_t c = (uint8_t)text.p[i];

        if (c >= 0x20 && c <= 0x7e && c != '%')
            buf_append_byte(b, c);
        else
            buf_printf(b, "%%%02X", c);
    }
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

void grpc_message_decode(struct buf *b, struct str text)
{
    for (size_t i = 0; i < text.n; i++) {
        int high = i + 2 < text.n && text.p[i] == '%' ? hex_digit(text.p[i + 1]) : -1;
        int low = high >= 0 ? hex_digit(text.p[i + 2]) : -1;

        if (low >= 0) {
            buf_append_byte(b, (uint8_t)(high << 4 | low));
            i += 2;
        } else {
            buf_append_byte(b, (uint8_t)text.p[i]);
        }
    }
}

bool grpc_timeout_parse(struct str text, uint64_t *ret_ms)
{
    uint64_t v = 0;

    if (text.n < 2 || text.n > 9) return false;
    for (size_t i = 0; i + 1 < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9') return false;
        v = v * 10 + (uint64_t)(text.p[i] - '0');
    }
    switch (text.p[text.n - 1]) {
    case 'H': *ret_ms = v * 3600000; return true;
    case 'M': *ret_ms = v * 60000; return true;
    case 'S': *ret_ms = v * 1000; return true;
    case 'm': *ret_ms = v; return true;
    case 'u': *ret_ms = (v + 999) / 1000; return true;
    case 'n': *ret_ms = (v + 999999) / 1000000; return true;
    default: return false;
    }
}

struct str grpc_timeout_text(uint64_t ms, char into[GRPC_TIMEOUT_TEXT_MAX])
{
    bool small = ms <= 99999999; /* eight digits are allowed */
    char digits[DECIMAL_MAX];
    struct str n = decimal(small ? ms : MIN(ms / 1000, (uint64_t)99999999), digits);

    memcpy(into, n.p, n.n);
    into[n.n] = small ? 'm' : 'S';
    return (struct str){into, n.n + 1};
}

static void freep(struct inflate_state **p)
{
    free(*p);
}

enum rc gzip_inflate(struct bytes in, size_t bytes_max, struct buf *ret, struct err *e)
{
    AUTO(freep) struct inflate_state *s = xnew(struct inflate_state);
    size_t before = ret->n;

    if (in.n > UINT32_MAX) return err_set(e, RC_TOO_LARGE, "gzip: %zu bytes are too many", in.n);
    isal_inflate_init(s);
    s->crc_flag = ISAL_GZIP;
    s->next_in = (uint8_t *)(uintptr_t)in.p;
    s->avail_in = (uint32_t)in.n;
    while (s->block_state != ISAL_BLOCK_FINISH) {
        uint32_t room = (uint32_t)MIN(MAX((size_t)in.n * 2, (size_t)16384), (size_t)1 << 20);
        int code;

        s->next_out = buf_grow(ret, room);
        s->avail_out = room;
        code = isal_inflate(s);
        ret->n -= s->avail_out;
        if (ret->n - before > bytes_max) {
            ret->n = before;
            return err_set(e, RC_TOO_LARGE, "gzip: more than %zu bytes come out", bytes_max);
        }
        if (code == ISAL_DECOMP_OK && s->avail_out == 0) continue;
        if (code == ISAL_DECOMP_OK && s->block_state == ISAL_BLOCK_FINISH) break;
        ret->n = before;
        return err_set(e, RC_INVALID, "gzip: %s",
                       code == ISAL_DECOMP_OK ? "the data ends too early" : "damaged");
    }
    return RC_OK;
}
