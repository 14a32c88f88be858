/* Design note: both protocols feed requests through here: exchange_begin(), exchange_data() …, exchange_complete(). Room
 * for a body is claimed before it is kept: all of it where the length is known (Content-Length, the five bytes of gRPC),
 * else in steps that are granted at once or refused. While a claim waits, the protocol stops reading; the little that is
 * already under way is kept. SPDX-License-Identifier: Apache-2.0 */
#include "net/http_conn.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

enum {
    STEP_BYTES = 64 << 10, /* claimed at a time for bodies of unknown length */
    INFLATE_BYTES_MAX =
        64 << 20, /* a compressed message may become this large: it is done on the loop */
};

static size_t bytes_max(const struct exchange *x)
{
    return x->options->body_bytes_max;
}

static void refuse_for_size(struct exchange *x, const char *what, uint64_t bytes)
{
    AUTO(buf_fini) struct buf text = {0};

    if (x->options->too_large) x->options->too_large(bytes, bytes_max(x), &text);
    else if (bytes == UINT64_MAX) buf_printf(&text, "the %s is too large (at most %zu bytes)", what, bytes_max(x));
    else buf_printf(&text, "the %s of %" PRIu64 " bytes is too large (at most %zu)", what, bytes, bytes_max(x));
    exchange_refuse(x, 413, "%s", buf_cstr(&text));
}

size_t exchange_body_max(const struct exchange *x)
{
    return bytes_max(x);
}

/* ---- Refusals ---- */

static int grpc_of_refusal(int status)
{
    switch (status) {
    case 408: return GRPC_DEADLINE_EXCEEDED;
    case 415: return GRPC_UNIMPLEMENTED;
    case 413:
    case 429:
    case 431: return GRPC_RESOURCE_EXHAUSTED;
    default: return GRPC_INVALID_ARGUMENT;
    }
}

static void error_body(const struct exchange *x, struct str text, struct buf *body)
{
    if (x->options->error_body) {
        x->options->error_body(text, body);
        return;
    }
    buf_append_str(body, STR("{\"error\":\""));
    for (size_t i = 0; i < text.n; i++) {
        uint8_t c = (uint8_t)text.p[i];

        if (c == '"' || c == '\\') buf_append_byte(body, '\\');
        buf_append_byte(body, c < 0x20 || c > 0x7e ? '?' : c);
    }
    buf_append_str(body, STR("\"}"));
}

void exchange_refuse(struct exchange *x, int status, const char *fmt, ...)
{
    struct header headers[2];
    size_t n = 0;
    struct buf body = {0};
    char text[300];
    va_list ap;

    if (x->ended || (x->answered && !x->streaming_out)) return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (x->streaming_out) {
        exchange_stream_end(
            x, &(struct grpc_reply){.status = grpc_of_refusal(status), .message = str_of(text)});
        return;
    }
    if (x->grpc) {
        headers[n++] = HEADER("grpc-accept-encoding", STR("identity,gzip"));
        exchange_respond_grpc(x,
                              &(struct grpc_reply){.status = grpc_of_refusal(status),
                                                   .message = str_of(text),
                                                   .headers = headers,
                                                   .headers_n = n},
                              NULL);
        return;
    }
    headers[n++] = HEADER("content-type", STR("application/json"));
    if (status == 429) headers[n++] = HEADER("retry-after", STR("1"));
    error_body(x, str_of(text), &body);
    exchange_respond(x, status, headers, n, &body);
}

/* ---- Room for the body ---- */

static void deliver(struct exchange *x);

static void refuse_for_room(struct exchange *x)
{
    exchange_refuse(x, 429, "too much is in flight: no memory for the body of this request");
}

static void settled(struct budget_claim *c, bool granted)
{
    struct exchange *x = container_of(c, struct exchange, in.claim);

    x->waiting = false;
    x->ops->wait(x, false);
    if (!granted)
        refuse_for_room(x);
    else if (x->complete && !x->answered)
        deliver(x);
}

/* False: refused and answered. */
static bool claim(struct exchange *x, size_t bytes)
{
    if (!x->options->budget || bytes == 0) return true;
    x->in.claimed = true;
    switch (budget_claim(x->options->budget, &x->in.claim, bytes, settled)) {
    case BUDGET_GRANTED: return true;
    case BUDGET_WAIT:
        x->waiting = true;
        x->ops->wait(x, true);
        return true;
    case BUDGET_REFUSED: break;
    }
    refuse_for_room(x);
    return false;
}

static void claim_drop(struct exchange *x)
{
    x->waiting = false;
    x->in.claimed = false;
    budget_drop(&x->in.claim);
}

/* ---- Headers ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* False: a broken escape, or an escaped NUL. */
static bool percent_decode(struct arena *a, struct str in, bool plus, struct str *ret)
{
    char *out;
    size_t n = 0;

    if (!in.n || (!memchr(in.p, '%', in.n) && !(plus && memchr(in.p, '+', in.n)))) {
        *ret = in;
        return true;
    }
    out = arena_alloc(a, in.n);
    if (!out) return false;
    for (size_t i = 0; i < in.n; i++) {
        int high, low;

        if (in.p[i] != '%') {
            out[n++] = plus && in.p[i] == '+' ? ' ' : in.p[i];
            continue;
        }
        if (i + 2 >= in.n || (high = hex_digit(in.p[i + 1])) < 0 ||
            (low = hex_digit(in.p[i + 2])) < 0)
            return false;
        if ((high << 4 | low) == 0) return false;
        out[n++] = (char)(high << 4 | low);
        i += 2;
    }
    *ret = (struct str){out, n};
    return true;
}

static bool target_cut(struct exchange *x, struct str target)
{
    struct str path;

    if (str_starts(target, STR("http://")) || str_starts(target, STR("https://"))) {
        size_t scheme = target.p[4] == 's' ? 8 : 7;
        const char *slash = memchr(target.p + scheme, '/', target.n - scheme);

        target = slash ? (struct str){slash, target.n - (size_t)(slash - target.p)} : STR("/");
    }
    str_cut(target, '?', &path, &x->query);
    return (str_starts(path, STR("/")) || str_is(path, "*")) &&
           percent_decode(&x->arena, path, false, &x->path);
}

static bool encoding_known(struct exchange *x)
{
    struct str name;

    if (!exchange_header(x, x->grpc ? STR("grpc-encoding") : STR("content-encoding"), &name))
        return true;
    if (str_is(name, "gzip"))
        x->in.gzipped = true;
    else if (!str_is(name, "identity")) {
        exchange_refuse(x, 415, "unknown %s \"" STR_FMT "\" (known: identity, gzip)",
                        x->grpc ? "grpc-encoding" : "content-encoding", STR_ARG(name));
        return false;
    }
    return true;
}

void exchange_begin(struct exchange *x, struct str target, uint64_t content_length)
{
    struct str type;

    x->in.declared = content_length;
    x->grpc = x->h2 && exchange_header(x, STR("content-type"), &type) &&
              str_starts(type, STR("application/grpc")) &&
              !str_starts(type, STR("application/grpc-web"));
    if (!target_cut(x, target)) {
        exchange_refuse(x, 400, "malformed path");
        return;
    }
    if (x->grpc && !str_is(x->method, "POST")) {
        x->grpc = false;
        exchange_refuse(x, 405, "gRPC needs POST");
        return;
    }
    if (!encoding_known(x)) return;
    if (!x->grpc && content_length != UINT64_MAX && content_length > bytes_max(x)) {
        refuse_for_size(x, "body", content_length);
        return;
    }
    if (x->options->handler.begin) x->options->handler.begin(x->options->handler.ctx, x);
    if (x->answered || x->grpc) {
        x->in.declared = UINT64_MAX;
        return;
    }
    if (content_length != UINT64_MAX) claim(x, (size_t)content_length);
}

/* ---- Body ---- */

static struct buf *body_target(struct exchange *x)
{
    return x->in.gzipped ? &x->in.gzip : &x->body;
}

static void plain_data(struct exchange *x, struct bytes in)
{
    struct buf *to = body_target(x);
    bool known = x->in.declared != UINT64_MAX;

    if (in.n > bytes_max(x) - to->n) {
        refuse_for_size(x, "body", UINT64_MAX);
        return;
    }
    if (!known && x->options->budget && !x->waiting) {
        size_t held = x->in.claimed ? x->in.claim.held : 0, need = to->n + in.n;

        if (!x->in.claimed && !claim(x, MAX(need, (size_t)STEP_BYTES))) return;
        if (held && need > held && !budget_more(&x->in.claim, MAX(need - held, held))) {
            refuse_for_room(x);
            return;
        }
    }
    if (known && !x->waiting && to->cap < x->in.declared)
        buf_reserve(to, (size_t)x->in.declared - to->n);
    buf_append(to, in);
}

static bool inflate(struct exchange *x)
{
    size_t ceiling = MIN(bytes_max(x), (size_t)INFLATE_BYTES_MAX);
    struct err e;

    if (gzip_inflate(buf_view(&x->in.gzip), ceiling, &x->body, &e)) {
        exchange_refuse(x, e.rc == RC_TOO_LARGE ? 413 : 400, "%s", e.text);
        return false;
    }
    buf_fini(&x->in.gzip);
    if (x->in.claimed && !budget_more(&x->in.claim, x->body.n)) {
        refuse_for_room(x);
        return false;
    }
    return true;
}

/* The five bytes are complete. */
static void frame_begin(struct exchange *x)
{
    uint32_t n = load_be32(x->in.frame + 1);

    if (x->in.frame[0] > 1) {
        exchange_refuse(x, 400, "malformed gRPC frame: flags %u", x->in.frame[0]);
        return;
    }
    if (!x->message && x->in.messages) {
        exchange_refuse(x, 400, "one message was expected, more came");
        return;
    }
    if (x->in.frame[0]) {
        struct str name;

        if (!exchange_header(x, STR("grpc-encoding"), &name) || !str_is(name, "gzip")) {
            exchange_refuse(x, 400, "compressed message without grpc-encoding");
            return;
        }
    }
    x->in.gzipped = x->in.frame[0] == 1;
    if (n > bytes_max(x)) {
        refuse_for_size(x, "message", n);
        return;
    }
    x->in.declared = n;
    claim(x, n);
}

static void message_end(struct exchange *x)
{
    x->in.frame_n = 0;
    x->in.declared = UINT64_MAX;
    x->in.messages++;
    if (!x->message) return; /* a unary call: delivered when the client has ended its side */
    if (x->in.gzipped && !inflate(x)) return;
    x->message(x, buf_view(&x->body));
    buf_clear(&x->body);
    if (!x->ended) claim_drop(x);
}

static void grpc_data(struct exchange *x, struct bytes in)
{
    while (!x->ended &&
           (in.n || (x->in.frame_n == GRPC_FRAME_BYTES && x->in.declared == body_target(x)->n))) {
        struct buf *to;
        size_t part;

        if (x->answered && !x->streaming_out) return;
        if (x->in.frame_n < GRPC_FRAME_BYTES) {
            part = MIN(in.n, (size_t)(GRPC_FRAME_BYTES - x->in.frame_n));
            memcpy(x->in.frame + x->in.frame_n, in.p, part);
            x->in.frame_n = (uint8_t)(x->in.frame_n + part);
            if (x->in.frame_n == GRPC_FRAME_BYTES) frame_begin(x);
        } else {
            to = body_target(x);
            part = (size_t)MIN((uint64_t)in.n, x->in.declared - to->n);
            if (part && to->n == 0 && !x->waiting) buf_reserve(to, (size_t)x->in.declared);
            buf_append(to, bytes_of(in.p, part));
            if (to->n == x->in.declared) message_end(x);
        }
        in.p += part;
        in.n -= part;
    }
}

void exchange_data(struct exchange *x, struct bytes in)
{
    if (x->ended || (x->answered && !x->streaming_out)) return;
    if (x->grpc)
        grpc_data(x, in);
    else
        plain_data(x, in);
}

/* Complete and with room: the handler's turn. */
static void deliver(struct exchange *x)
{
    if (x->message) {
        if (x->in.frame_n)
            exchange_refuse(x, 400, "the stream ended inside a message");
        else if (x->half_closed)
            x->half_closed(x);
        return;
    }
    if (x->grpc && (x->in.messages != 1 || x->in.frame_n)) {
        exchange_refuse(x, 400,
                        x->in.messages ? "one message was expected, more came"
                                       : "the call ended before its message was complete");
        return;
    }
    if (x->in.gzipped && !inflate(x)) return;
    x->options->handler.request(x->options->handler.ctx, x);
}

void exchange_complete(struct exchange *x)
{
    x->complete = true;
    if (x->ended || (x->answered && !x->streaming_out) || x->waiting) return;
    deliver(x);
}

void exchange_gone(struct exchange *x)
{
    if (x->ended) return;
    x->ended = true;
    if (x->gone && (!x->answered || x->streaming_out)) x->gone(x);
}

void exchange_reset(struct exchange *x)
{
    struct arena arena = x->arena;

    claim_drop(x);
    buf_fini(&x->body);
    buf_fini(&x->in.gzip);
    arena_reset(&arena);
    *x = (struct exchange){.arena = arena};
}

/* ---- Answers ---- */

void exchange_respond(struct exchange *x, int status, const struct header *h, size_t n,
                      struct buf *body)
{
    struct buf none = {0};

    must(!x->answered && !x->ended && status >= 200 && status <= 599);
    x->answered = true;
    claim_drop(x);
    x->ops->respond(x, status, h, n, body ? body : &none);
}

void exchange_respond_grpc(struct exchange *x, const struct grpc_reply *r, struct buf *message)
{
    struct buf none = {0};

    must(!x->answered && !x->ended && x->grpc);
    x->answered = true;
    claim_drop(x);
    x->ops->respond_grpc(x, r, message ? message : &none);
}

void exchange_stream_begin(struct exchange *x, int status, const struct header *h, size_t n)
{
    must(!x->answered && !x->ended);
    x->answered = x->streaming_out = true;
    x->ops->stream_begin(x, status, h, n);
}

void exchange_stream_send(struct exchange *x, struct buf *piece)
{
    must(x->streaming_out && !x->ended);
    x->ops->stream_send(x, piece);
}

bool exchange_stream_full(const struct exchange *x)
{
    return x->ops->stream_full(x);
}

void exchange_stream_end(struct exchange *x, const struct grpc_reply *r)
{
    must(x->streaming_out && !x->ended);
    x->streaming_out = false;
    x->ops->stream_end(x, r);
}

bool exchange_query(struct exchange *x, struct str name, struct str *ret)
{
    struct str rest = x->query, item, key, value;

    while (rest.n) {
        str_cut(rest, '&', &item, &rest);
        str_cut(item, '=', &key, &value);
        if (str_eq(key, name)) return percent_decode(&x->arena, value, true, ret);
    }
    return false;
}

/* ---- Small things both protocols write ---- */

const char *http_reason(int status)
{
    switch (status) {
    case 200: return "OK";
    case 201: return "Created";
    case 202: return "Accepted";
    case 204: return "No Content";
    case 301: return "Moved Permanently";
    case 302: return "Found";
    case 304: return "Not Modified";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 412: return "Precondition Failed";
    case 413: return "Content Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 417: return "Expectation Failed";
    case 422: return "Unprocessable Content";
    case 424: return "Failed Dependency";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    case 507: return "Insufficient Storage";
    default: return "Status";
    }
}

bool http_header_fits(const struct header *h)
{
    static const char extra[] = "!#$%&'*+-.^_`|~";

    if (h->name.n == 0) return false;
    for (size_t i = 0; i < h->name.n; i++) {
        char c = h->name.p[i];

        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && (c == 0 || !strchr(extra, c)))
            return false;
    }
    for (size_t i = 0; i < h->value.n; i++) {
        uint8_t c = (uint8_t)h->value.p[i];

        if (c == '\t' ? i == 0 || i + 1 == h->value.n : c < 0x20 || c == 0x7f) return false;
    }
    return true;
}
