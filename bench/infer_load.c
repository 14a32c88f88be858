/* bench/infer_load.c - ModelInfer calls over one gRPC connection, with figures as one JSON line.
 *
 *   infer_load closed ADDRESS NAME CALLERS SECONDS     each caller calls again when it is answered
 *   infer_load open ADDRESS NAME RATE SECONDS          calls leave on time whatever comes back; a late departure counts as latency
 *   …                                   [FLOATS [rest]]   instead of 4 over gRPC
 * NAME goes into the seldon-model header (p.pipeline, or a model). The request is one FP32 tensor INPUT [1,FLOATS].
 * SPDX-License-Identifier: Apache-2.0
 */
#include "net/loop.h"
#include "sys/worker.h"
#include "upstream/upstream.h"
#include <inttypes.h>
#include <stdio.h>

enum { LATENCIES_MAX = 4 << 20, IN_FLIGHT_MAX = 4096, TIMEOUT_MS = 10000, SECONDS_MAX = 120, ERRORS_MAX = 100, FLOATS_MAX = 1 << 20 };

struct bench {
    struct loop           *loop;
    struct upstream       *up;
    struct upstream_target target;
    struct header          header;
    uint64_t               begun_us, end_us, departed, rate;
    uint32_t              *us;
    size_t                 n, in_flight, failed, left_out;
    bool                   open;
    struct buf             request;
    struct turn_hook       hook;
    struct timer           tick;
};

struct caller { struct upstream_call call; struct bench *b; uint64_t departure_us; };

static void depart(struct bench *b, struct caller *c, uint64_t departure_us);

static void on_answer(struct upstream_call *call)
{
    struct caller *c = container_of(call, struct caller, call);
    struct bench  *b = c->b;
    uint64_t       now = clock_mono_us(&clock_real);

    if (call->err.rc) {
        if (b->failed++ < 3) fprintf(stderr, "infer_load: %s\n", call->err.text);
    } else if (b->n < LATENCIES_MAX) {
        b->us[b->n++] = (uint32_t)MIN(now - c->departure_us, (uint64_t)UINT32_MAX);
    }
    upstream_call_fini(call);
    b->in_flight--;
    if (!b->open && now < b->end_us && b->failed < ERRORS_MAX) {
        depart(b, c, now);
        return;
    }
    free(c);
    if (!b->in_flight && (now >= b->end_us || !b->open)) loop_stop(b->loop);
}

static void depart(struct bench *b, struct caller *c, uint64_t departure_us)
{
    c->call = (struct upstream_call){.target = &b->target, .request = buf_view(&b->request), .headers = &b->header,
                                     .headers_n = 1, .deadline_ms = clock_mono_ms(&clock_real) + TIMEOUT_MS, .attempts = 1,
                                     .done = on_answer};
    c->b = b;
    c->departure_us = departure_us;
    b->in_flight++;
    upstream_call(b->up, &c->call);
}

/* Every turn: whatever should have left by now leaves. */
static void depart_on_time(struct turn_hook *h)
{
    struct bench *b = container_of(h, struct bench, hook);
    uint64_t      now = clock_mono_us(&clock_real);

    for (uint64_t at; (at = b->begun_us + b->departed * 1000000 / b->rate) <= MIN(now, b->end_us); b->departed++) {
        if (b->in_flight >= IN_FLIGHT_MAX) b->left_out++;
        else depart(b, xnew(struct caller), at);
    }
    if (now >= b->end_us && !b->in_flight) loop_stop(b->loop);
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static int report(struct bench *b, double seconds)
{
    if (!b->n) {
        fprintf(stderr, "infer_load: nothing was answered\n");
        return 1;
    }
    qsort(b->us, b->n, sizeof b->us[0], by_value);
    printf("{\"requests\":%zu,\"failed\":%zu,\"left_out\":%zu,\"requests_s\":%.0f,\"p10_us\":%u,\"p50_us\":%u,\"p99_us\":%u,\"p999_us\":%u,\"max_us\":%u}\n",
           b->n, b->failed, b->left_out, (double)b->n / seconds, b->us[b->n / 10], b->us[b->n / 2], b->us[b->n * 99 / 100], b->us[b->n * 999 / 1000],
           b->us[b->n - 1]);
    return b->failed != 0;
}

/* A field of `inside` bytes, whose head is number and length. */
static void put_field(struct buf *into, uint8_t tag, struct bytes inside)
{
    buf_append_byte(into, tag);
    for (size_t n = inside.n;; n >>= 7) {
        buf_append_byte(into, (uint8_t)(n > 0x7f ? n | 0x80 : n));
        if (n <= 0x7f) break;
    }
    buf_append(into, inside);
}

/* ModelInferRequest.inputs (5): name (1), datatype (2), shape (3), contents (5) with fp32_contents (6). */
static void request_build(struct buf *into, size_t floats)
{
    struct buf data = {0}, contents = {0}, tensor = {0};
    uint8_t    shape[8] = {1};
    size_t     n = 1;

    for (size_t i = 0; i < floats; i++) {
        union { float f; uint32_t bits; } v = {.f = (float)(i % 1000) + 0.5f};

        store_le32(buf_grow(&data, 4), v.bits);
    }
    for (size_t left = floats;; left >>= 7) {
        shape[n++] = (uint8_t)(left > 0x7f ? left | 0x80 : left);
        if (left <= 0x7f) break;
    }
    put_field(&contents, 6 << 3 | 2, buf_view(&data));
    put_field(&tensor, 1 << 3 | 2, str_bytes(STR("INPUT")));
    put_field(&tensor, 2 << 3 | 2, str_bytes(STR("FP32")));
    put_field(&tensor, 3 << 3 | 2, bytes_of(shape, n));
    put_field(&tensor, 5 << 3 | 2, buf_view(&contents));
    put_field(into, 5 << 3 | 2, buf_view(&tensor));
    buf_fini(&data);
    buf_fini(&contents);
    buf_fini(&tensor);
}

int main(int argc, char **argv)
{
    struct bench    b = {0};
    struct workers *workers;
    struct err      e;
    uint64_t        seconds;

    if (argc < 6 || argc > 8 || (strcmp(argv[1], "closed") && strcmp(argv[1], "open"))) {
        fprintf(stderr, "usage: infer_load closed ADDRESS NAME CALLERS SECONDS [FLOATS [rest]] | open ADDRESS NAME RATE SECONDS …\n");
        return 2;
    }
    b.open = !strcmp(argv[1], "open");
    request_build(&b.request, argc > 6 ? MIN(strtoull(argv[6], NULL, 10), (uint64_t)FLOATS_MAX) : 4);
    b.rate = MAX(strtoull(argv[4], NULL, 10), 1);
    seconds = MIN(strtoull(argv[5], NULL, 10), (uint64_t)SECONDS_MAX);
    b.target = (struct upstream_target){.kind = argc > 7 ? UPSTREAM_REST : UPSTREAM_GRPC, .address = str_of(argv[2]), .model = str_of(argv[3])};
    b.header = (struct header){STR("seldon-model"), str_of(argv[3])};
    b.us = xnew_array(uint32_t, LATENCIES_MAX);
    if (workers_new(1, &workers, &e) || loop_new(&clock_real, &b.loop, &e) || upstream_new(b.loop, workers, 64 << 20, &b.up, &e)) {
        fprintf(stderr, "infer_load: %s\n", e.text);
        return 1;
    }
    b.begun_us = clock_mono_us(&clock_real);
    b.end_us = b.begun_us + seconds * 1000000;
    if (b.open) {
        b.hook.turn = depart_on_time;
        loop_hook(b.loop, &b.hook);
        while (clock_mono_us(&clock_real) < b.end_us || b.in_flight) loop_turn(b.loop, 0);
    } else {
        for (uint64_t i = 0; i < MIN(b.rate, (uint64_t)IN_FLIGHT_MAX); i++) depart(&b, xnew(struct caller), b.begun_us);
        loop_run(b.loop);
    }
    return report(&b, (double)(clock_mono_us(&clock_real) - b.begun_us) / 1e6);
}
