/* bench/kafka_load.c - a load on any Kafka through librdkafka, with figures as one JSON line.
 *
 *   kafka_load produce BOOTSTRAP TOPIC COUNT SIZE ACKS         as fast as the broker takes them
 *   kafka_load consume BOOTSTRAP TOPIC COUNT                   all partitions, from the start
 *   kafka_load latency BOOTSTRAP TOPIC RATE SECONDS SIZE ACKS  open loop: each message has its time
 * of departure, and a late departure counts as latency; produce-ack and end-to-end
 *
 * In front of these, -X NAME=VALUE (once or more) sets a property of librdkafka, as kcat's does. Every run is
 * bounded: RUN_SECONDS_MAX. SPDX-License-Identifier: Apache-2.0
 */
#include "base/macros.h"
#include <inttypes.h>
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { RUN_SECONDS_MAX = 300, LATENCIES_MAX = 4 << 20, PARTITIONS_MAX = 64 };

static char **more_properties; /* "-X", "name=value", … */
static int more_n;

static uint64_t now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "kafka_load: %s: %s\n", what, why);
    exit(1);
}

struct latencies {
    uint32_t *us;
    size_t n;
};

static void latency_add(struct latencies *l, uint64_t us)
{
    if (l->n < LATENCIES_MAX) l->us[l->n++] = (uint32_t)MIN(us, (uint64_t)UINT32_MAX);
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static void latencies_print(const char *name, struct latencies *l)
{
    if (!l->n) fail(name, "nothing was measured");
    qsort(l->us, l->n, sizeof l->us[0], by_value);
    printf("\"%s\":{\"n\":%zu,\"p50_us\":%u,\"p99_us\":%u,\"p999_us\":%u,\"max_us\":%u}", name,
           l->n, l->us[l->n / 2], l->us[l->n * 99 / 100], l->us[l->n * 999 / 1000],
           l->us[l->n - 1]);
}

static void conf_set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char why[512];

    if (rd_kafka_conf_set(conf, name, value, why, sizeof why)) fail(name, why);
}

static rd_kafka_conf_t *conf_new(const char *bootstrap)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();

    conf_set(conf, "bootstrap.servers", bootstrap);
    for (int i = 0; i < more_n; i += 2) {
        char *name = more_properties[i + 1], *value = strchr(name, '=');

        if (!value) fail(name, "is not NAME=VALUE");
        *value = 0;
        conf_set(conf, name, value + 1);
        *value = '=';
    }
    return conf;
}

/* What delivery reports add up to. The opaque of a message is its time of departure in
 * microseconds, or 0. */
struct delivered {
    uint64_t n, failed;
    struct latencies acks;
};

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
    struct delivered *d = opaque;
    uint64_t departure = (uint64_t)(uintptr_t)m->_private;

    (void)rk;
    if (m->err) {
        if (!d->failed++) fprintf(stderr, "kafka_load: delivery: %s\n", rd_kafka_err2str(m->err));
        return;
    }
    d->n++;
    if (departure) latency_add(&d->acks, now_us() - departure);
}

static rd_kafka_t *producer_new(const char *bootstrap, const char *acks, const char *linger,
                                struct delivered *d)
{
    rd_kafka_conf_t *conf = conf_new(bootstrap);
    char why[512];
    rd_kafka_t *rk;

    conf_set(conf, "acks", acks);
    conf_set(conf, "linger.ms", linger);
    conf_set(conf, "queue.buffering.max.messages", "1000000");
    conf_set(conf, "message.max.bytes", "10000000");
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_conf_set_opaque(conf, d);
    rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    if (!rk) fail("producer", why);
    return rk;
}

static void produce_one(rd_kafka_t *rk, const char *topic, const void *p, size_t n, uint64_t departure)
{
    for (;;) {
        rd_kafka_resp_err_t err = rd_kafka_producev(
            rk, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_VALUE((void *)(uintptr_t)p, n),
            RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
            RD_KAFKA_V_OPAQUE((void *)(uintptr_t)departure), RD_KAFKA_V_END);

        if (!err) return;
        if (err != RD_KAFKA_RESP_ERR__QUEUE_FULL) fail("produce", rd_kafka_err2str(err));
        rd_kafka_poll(rk, 1);
    }
}

static void fill(uint8_t *p, size_t n)
{
    uint64_t x = 0x9e3779b97f4a7c15ULL;

    for (size_t i = 0; i < n; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        p[i] = (uint8_t)x;
    }
}

static int produce(const char *bootstrap, const char *topic, uint64_t count, size_t size,
                   const char *acks)
{
    struct delivered d = {0};
    rd_kafka_t *rk = producer_new(bootstrap, acks, "5", &d);
    uint8_t *value = xcalloc(1, size);
    uint64_t begun;
    double seconds;

    fill(value, size);
    begun = now_us();
    for (uint64_t i = 0; i < count && now_us() - begun < RUN_SECONDS_MAX * UINT64_C(1000000); i++) {
        produce_one(rk, topic, value, size, 0);
        if (i % 256 == 0) rd_kafka_poll(rk, 0);
    }
    if (rd_kafka_flush(rk, RUN_SECONDS_MAX * 1000)) fail("flush", "messages were left");
    seconds = (double)(now_us() - begun) / 1e6;
    printf("{\"messages\":%" PRIu64 ",\"failed\":%" PRIu64
           ",\"seconds\":%.4f,\"messages_s\":%.0f,\"mb_s\":%.2f}\n",
           d.n, d.failed, seconds, (double)d.n / seconds,
           (double)d.n * (double)size / 1e6 / seconds);
    rd_kafka_destroy(rk);
    free(value);
    return d.failed != 0;
}

static rd_kafka_t *consumer_new(const char *bootstrap, const char *topic, const char *wait_ms,
                                int64_t from)
{
    rd_kafka_conf_t *conf = conf_new(bootstrap);
    char why[512];
    const struct rd_kafka_metadata *md;
    rd_kafka_topic_partition_list_t *all;
    rd_kafka_topic_t *t;
    rd_kafka_t *rk;

    conf_set(conf, "group.id", "kafka_load");
    conf_set(conf, "enable.auto.commit", "false");
    conf_set(conf, "fetch.wait.max.ms", wait_ms);
    conf_set(conf, "queued.min.messages", "1000000");
    conf_set(conf, "fetch.message.max.bytes", "10000000");
    rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof why);
    if (!rk) fail("consumer", why);
    rd_kafka_poll_set_consumer(rk);
    t = rd_kafka_topic_new(rk, topic, NULL);
    if (rd_kafka_metadata(rk, 0, t, &md, 30000) || md->topic_cnt != 1) fail("metadata", topic);
    all = rd_kafka_topic_partition_list_new(md->topics[0].partition_cnt);
    for (int i = 0; i < md->topics[0].partition_cnt; i++)
        rd_kafka_topic_partition_list_add(all, topic, md->topics[0].partitions[i].id)->offset =
            from;
    if (rd_kafka_assign(rk, all)) fail("assign", topic);
    rd_kafka_topic_partition_list_destroy(all);
    rd_kafka_metadata_destroy(md);
    rd_kafka_topic_destroy(t);
    return rk;
}

static int consume(const char *bootstrap, const char *topic, uint64_t count)
{
    rd_kafka_t *rk = consumer_new(bootstrap, topic, "500", RD_KAFKA_OFFSET_BEGINNING);
    uint64_t begun = now_us(), n = 0, bytes = 0;
    double seconds;

    while (n < count && now_us() - begun < RUN_SECONDS_MAX * UINT64_C(1000000)) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(rk, 1000);

        if (!m) continue;
        if (!m->err) {
            n++;
            bytes += m->len;
        }
        rd_kafka_message_destroy(m);
    }
    seconds = (double)(now_us() - begun) / 1e6;
    printf("{\"messages\":%" PRIu64 ",\"seconds\":%.4f,\"messages_s\":%.0f,\"mb_s\":%.2f}\n", n,
           seconds, (double)n / seconds, (double)bytes / 1e6 / seconds);
    rd_kafka_consumer_close(rk);
    rd_kafka_destroy(rk);
    return n < count;
}

struct reader {
    rd_kafka_t *rk;
    struct latencies end_to_end;
    atomic_bool stop;
};

static void *read_all(void *arg)
{
    struct reader *r = arg;

    while (!atomic_load(&r->stop)) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(r->rk, 100);
        uint64_t departure;

        if (!m) continue;
        if (!m->err && m->len >= sizeof departure) {
            memcpy(&departure, m->payload, sizeof departure);
            latency_add(&r->end_to_end, now_us() - departure);
        }
        rd_kafka_message_destroy(m);
    }
    return NULL;
}

static int latency(const char *bootstrap, const char *topic, uint64_t rate, uint64_t seconds,
                   size_t size, const char *acks)
{
    struct delivered d = {.acks = {.us = xcalloc(LATENCIES_MAX, sizeof(uint32_t))}};
    struct reader r = {.end_to_end = {.us = xcalloc(LATENCIES_MAX, sizeof(uint32_t))}};
    rd_kafka_t *rk = producer_new(bootstrap, acks, "0", &d);
    uint8_t *value = xcalloc(1, MAX(size, sizeof(uint64_t)));
    uint64_t begun, total = rate * MIN(seconds, (uint64_t)RUN_SECONDS_MAX);
    pthread_t thread;

    fill(value, size);
    r.rk = consumer_new(bootstrap, topic, "500", RD_KAFKA_OFFSET_END);
    if (pthread_create(&thread, NULL, read_all, &r)) fail("thread", "pthread_create");
    produce_one(rk, topic, "warm", 4, 0); /* connections, metadata, offsets; too short to be measured */
    if (rd_kafka_flush(rk, 30000)) fail("flush", "the first message was not taken");
    for (uint64_t warm = now_us(); now_us() - warm < 1000000;) rd_kafka_poll(rk, 50);
    begun = now_us();
    for (uint64_t i = 0; i < total; i++) {
        uint64_t departure = begun + i * 1000000 / rate;

        for (uint64_t now; (now = now_us()) < departure;)
            if (!rd_kafka_poll(rk, departure - now > 2000 ? 1 : 0) && departure - now > 60)
                nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
        memcpy(value, &departure, sizeof departure);
        produce_one(rk, topic, value, MAX(size, sizeof departure), departure);
        rd_kafka_poll(rk, 0);
    }
    rd_kafka_flush(rk, 30000);
    for (uint64_t wait = now_us(); r.end_to_end.n < d.acks.n && now_us() - wait < 5000000;)
        rd_kafka_poll(rk, 50);
    atomic_store(&r.stop, true);
    pthread_join(thread, NULL);
    printf("{\"rate\":%" PRIu64 ",\"failed\":%" PRIu64 ",", rate, d.failed);
    latencies_print("ack", &d.acks);
    printf(",");
    latencies_print("end_to_end", &r.end_to_end);
    printf("}\n");
    rd_kafka_consumer_close(r.rk);
    rd_kafka_destroy(r.rk);
    rd_kafka_destroy(rk);
    free(value);
    free(d.acks.us);
    free(r.end_to_end.us);
    return d.failed != 0;
}

int main(int argc, char **argv)
{
    for (more_properties = argv + 1; argc > 2 && !strcmp(argv[1], "-X"); argc -= 2, argv += 2)
        more_n += 2;
    if (argc == 7 && !strcmp(argv[1], "produce"))
        return produce(argv[2], argv[3], strtoull(argv[4], NULL, 10), strtoull(argv[5], NULL, 10),
                       argv[6]);
    if (argc == 5 && !strcmp(argv[1], "consume"))
        return consume(argv[2], argv[3], strtoull(argv[4], NULL, 10));
    if (argc == 8 && !strcmp(argv[1], "latency"))
        return latency(argv[2], argv[3], strtoull(argv[4], NULL, 10), strtoull(argv[5], NULL, 10),
                       strtoull(argv[6], NULL, 10), argv[7]);
    fprintf(stderr, "usage: kafka_load [-X NAME=VALUE]… produce BOOTSTRAP TOPIC COUNT SIZE ACKS | consume BOOTSTRAP "
                    "TOPIC COUNT | "
                    "latency BOOTSTRAP TOPIC RATE SECONDS SIZE ACKS\n");
    return 2;
}
