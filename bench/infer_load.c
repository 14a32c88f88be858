/* bench/infer_load.c - ModelInfer calls over one gRPC connection, with figures as one JSON line.
 *
 *   infer_load closed ADDRESS NAME CALLERS SECONDS     each caller calls again when it is answered
 *   infer_load open ADDRESS NAME RATE SECONDS          calls leave on time whatever comes back; a late departure counts as latency
 * NAME goes into the seldon-model header (p.pipeline, or a model). The request is one FP32 tensor INPUT [1,4].
 * SPDX-License-Identifier: Apache-2.0
 */
#include "net/loop.h"
#include "sys/worker.h"
#include "upstream/upstream.h"
#include <inttypes.h>
#include <stdio.h>

enum { LATENCIES_MAX = 4 << 20, IN_FLIGHT_MAX = 4096, TIMEOUT_MS = 10000, SECONDS_MAX = 120, ERRORS_MAX = 100 };

static const uint8_t request[] = {0x2a, 0x25, 0x0a, 5, 'I', 'N', 'P', 'U', 'T', 0x12, 4, 'F', 'P', '3', '2', 0x1a, 2, 1, 4, 0x2a,
                                  0x12, 0x32, 0x10, 0, 0, 0x80, 0x3f, 0, 0, 0, 0x40, 0, 0, 0x40, 0x40, 0, 0, 0x80, 0x40};

struct bench {
    struct loop           *loop;
    struct upstream       *up;
    struct upstream_target target;
    struct header          header;
    uint64_t               begun_us, end_us, departed, rate;
    uint32_t              *us;
    size_t                 n, in_flight, failed, left_out;
    bool                   open;
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
    c->call = (struct upstream_call){.target = &b->target, .request = bytes_of(request, sizeof request), .headers = &b->header,
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
    printf("{\"requests\":%zu,\"failed\":%zu,\"left_out\":%zu,\"requests_s\":%.0f,\"p50_us\":%u,\"p99_us\":%u,\"p999_us\":%u,\"max_us\":%u}\n",
           b->n, b->failed, b->left_out, (double)b->n / seconds, b->us[b->n / 2], b->us[b->n * 99 / 100], b->us[b->n * 999 / 1000],
           b->us[b->n - 1]);
    return b->failed != 0;
}

int main(int argc, char **argv)
{
    struct bench    b = {0};
    struct workers *workers;
    struct err      e;
    uint64_t        seconds;

    if (argc != 6 || (strcmp(argv[1], "closed") && strcmp(argv[1], "open"))) {
        fprintf(stderr, "usage: infer_load closed ADDRESS NAME CALLERS SECONDS | open ADDRESS NAME RATE SECONDS\n");
        return 2;
    }
    b.open = !strcmp(argv[1], "open");
    b.rate = MAX(strtoull(argv[4], NULL, 10), 1);
    seconds = MIN(strtoull(argv[5], NULL, 10), (uint64_t)SECONDS_MAX);
    b.target = (struct upstream_target){.kind = UPSTREAM_GRPC, .address = str_of(argv[2]), .model = str_of(argv[3])};
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
