/* bench/wire_load.c - Produce requests of one small record to each partition, over plain connections, with figures as one
 * JSON line. A client library would cost more than the broker here.
 *
 *   wire_load HOST:PORT TOPIC CONNECTIONS PARTITIONS RATE SECONDS SIZE
 *
 * Each request goes to all PARTITIONS at once (acks=all). RATE 0: every connection sends again when it is answered; else
 * requests leave on time over the connections in turn, and a late departure counts as latency.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/rng.h"
#include "kafka/batch_build.h"
#include "kafka/msg/produce.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { LATENCIES_MAX = 4 << 20, CONNECTIONS_MAX = 256, PARTITIONS_MAX = 256, QUEUE_MAX = 4096, SECONDS_MAX = 120, VERSION = 7 };

struct connection {
    int      fd;
    uint64_t departures[QUEUE_MAX];               /* of what is not answered yet, oldest first */
    size_t   head, n;
    uint8_t  answer[64 << 10];
    size_t   answer_n;
};

struct load {
    struct buf         request;
    struct connection *c;
    size_t             connections, n, failed, left_out;
    uint32_t          *us;
};

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static struct bytes one_record(struct buf *out, size_t size)
{
    struct batch_builder w;
    struct buf           value = {0};
    struct bytes         ret;
    struct err           e;

    random_bytes(buf_grow(&value, size), size);
    batch_begin(&w, out, NULL);
    batch_add(&w, &(struct record_new){.value = bytes_of(value.p, size), .timestamp = (int64_t)time(NULL) * 1000});
    if (batch_end(&w, NULL, &ret, &e)) exit(1);
    buf_fini(&value);
    return ret;
}

static void request_build(struct load *l, const char *topic, size_t partitions, size_t size)
{
    struct produce_request_partition p[PARTITIONS_MAX];
    struct produce_request_topic     t = {.name = str_of(topic), .partitions = p, .partitions_n = partitions};
    struct produce_request           m = {.acks = -1, .timeout_ms = 10000, .topics = &t, .topics_n = 1};
    struct kafka_request_header      h = {.api_key = KAFKA_PRODUCE, .api_version = VERSION, .correlation_id = 1, .client_id = STR("wire_load"),
                                          .api = kafka_api_of(KAFKA_PRODUCE)};
    struct buf   batch = {0};
    struct bytes records = one_record(&batch, size);
    struct wr    w;
    size_t       begun;

    for (size_t i = 0; i < partitions; i++) p[i] = (struct produce_request_partition){.index = (int32_t)i, .records = records};
    wr_init(&w, &l->request);
    begun = wr_frame_begin(&w);
    kafka_request_header_encode(&w, &h);
    if (!produce_request_encode(&w, VERSION, &m)) exit(1);
    wr_frame_end(&w, begun);
    wr_fini(&w);
    buf_fini(&batch);
}

static int dial(const char *address)
{
    char               host[64];
    const char        *colon = strrchr(address, ':');
    struct sockaddr_in to = {.sin_family = AF_INET};
    int                fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

    if (!colon || (size_t)(colon - address) >= sizeof host) fail("HOST:PORT");
    memcpy(host, address, (size_t)(colon - address));
    host[colon - address] = 0;
    to.sin_port = htons((uint16_t)atoi(colon + 1));
    if (inet_pton(AF_INET, host, &to.sin_addr) != 1 || connect(fd, (struct sockaddr *)&to, sizeof to)) fail(address);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static void send_one(struct load *l, struct connection *c, uint64_t departure_us)
{
    if (c->n == QUEUE_MAX) {
        l->left_out++;
        return;
    }
    for (size_t sent = 0; sent < l->request.n;) {
        ssize_t n = write(c->fd, l->request.p + sent, l->request.n - sent);

        if (n > 0) sent += (size_t)n;
        else if (errno == EAGAIN) poll(&(struct pollfd){.fd = c->fd, .events = POLLOUT}, 1, 1000);
        else fail("write");
    }
    c->departures[(c->head + c->n++) % QUEUE_MAX] = departure_us;
}

/* Of a Produce answer only the errors count: they follow each partition's number. */
static bool answer_ok(struct bytes body)
{
    struct arena            a = {0};
    struct produce_response m;
    struct rd               r;
    bool                    ok;

    rd_init(&r, body);
    (void)rd_i32(&r);                              /* correlation id */
    ok = produce_response_decode(&r, VERSION, &a, &m);
    for (size_t i = 0; ok && i < m.topics[0].partitions_n; i++) ok = !m.topics[0].partitions[i].error_code;
    arena_fini(&a);
    return ok;
}

/* Counts what has been answered on it. */
static size_t receive(struct load *l, struct connection *c)
{
    ssize_t got = read(c->fd, c->answer + c->answer_n, sizeof c->answer - c->answer_n);
    size_t  done = 0, at = 0;

    if (got == 0 || (got < 0 && errno != EAGAIN)) fail("the broker closed the connection");
    if (got > 0) c->answer_n += (size_t)got;
    while (c->answer_n - at >= 4) {
        size_t size = (size_t)c->answer[at] << 24 | (size_t)c->answer[at + 1] << 16 | (size_t)c->answer[at + 2] << 8 | c->answer[at + 3];

        if (c->answer_n - at < 4 + size) break;
        if (!answer_ok(bytes_of(c->answer + at + 4, size))) l->failed++;
        else if (l->n < LATENCIES_MAX) l->us[l->n++] = (uint32_t)MIN(now_us() - c->departures[c->head], (uint64_t)UINT32_MAX);
        c->head = (c->head + 1) % QUEUE_MAX;
        c->n--;
        done++;
        at += 4 + size;
    }
    memmove(c->answer, c->answer + at, c->answer_n - at);
    c->answer_n -= at;
    return done;
}

static size_t waiting(const struct load *l)
{
    size_t n = 0;

    for (size_t i = 0; i < l->connections; i++) n += l->c[i].n;
    return n;
}

/* Until a time, at most 1 ms. */
static long until_ns(uint64_t at_us)
{
    uint64_t now = now_us();

    return at_us > now ? (long)MIN(at_us - now, (uint64_t)1000) * 1000 : 0;
}

static void run(struct load *l, uint64_t rate, uint64_t seconds)
{
    uint64_t      begun = now_us(), end = begun + seconds * 1000000, departed = 0;
    struct pollfd fds[CONNECTIONS_MAX];

    for (size_t i = 0; i < l->connections; i++) fds[i] = (struct pollfd){.fd = l->c[i].fd, .events = POLLIN};
    for (size_t i = 0; !rate && i < l->connections; i++) send_one(l, &l->c[i], now_us());
    for (uint64_t now; (now = now_us()) < end + 10000000 && (now < end || waiting(l));) {
        struct timespec patience = {.tv_nsec = 100000000};

        for (uint64_t at; rate && (at = begun + departed * 1000000 / rate) <= MIN(now, end - 1); departed++)
            send_one(l, &l->c[departed % l->connections], at);
        if (rate) patience.tv_nsec = until_ns(begun + departed * 1000000 / rate);
        if (ppoll(fds, l->connections, &patience, NULL) <= 0) continue;
        for (size_t i = 0; i < l->connections; i++) {
            if (!fds[i].revents) continue;
            if (receive(l, &l->c[i]) && !rate && now < end) send_one(l, &l->c[i], now_us());
        }
    }
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    struct load l = {.us = xnew_array(uint32_t, LATENCIES_MAX)};
    uint64_t    seconds, begun;

    if (argc != 8) {
        fprintf(stderr, "usage: wire_load HOST:PORT TOPIC CONNECTIONS PARTITIONS RATE SECONDS SIZE\n");
        return 2;
    }
    l.connections = MIN(strtoull(argv[3], NULL, 10), (uint64_t)CONNECTIONS_MAX);
    seconds = MIN(strtoull(argv[6], NULL, 10), (uint64_t)SECONDS_MAX);
    request_build(&l, argv[2], MIN(strtoull(argv[4], NULL, 10), (uint64_t)PARTITIONS_MAX), strtoull(argv[7], NULL, 10));
    l.c = xnew_array(struct connection, l.connections);
    for (size_t i = 0; i < l.connections; i++) l.c[i].fd = dial(argv[1]);
    prctl(PR_SET_TIMERSLACK, 1);                       /* departures on time: the default is 50 us late */
    begun = now_us();
    run(&l, strtoull(argv[5], NULL, 10), seconds);
    if (!l.n) {
        fprintf(stderr, "wire_load: nothing was answered\n");
        return 1;
    }
    qsort(l.us, l.n, sizeof l.us[0], by_value);
    printf("{\"requests\":%zu,\"failed\":%zu,\"left_out\":%zu,\"unanswered\":%zu,\"requests_s\":%.0f,\"p10_us\":%u,\"p50_us\":%u,\"p99_us\":%u,\"p999_us\":%u}\n", l.n, l.failed,
           l.left_out, waiting(&l), (double)l.n * 1e6 / (double)(now_us() - begun), l.us[l.n / 10], l.us[l.n / 2], l.us[l.n * 99 / 100], l.us[l.n * 999 / 1000]);
    for (size_t i = 0; i < l.connections; i++) close(l.c[i].fd);
    free(l.c);
    free(l.us);
    buf_fini(&l.request);
    return l.failed != 0;
}
