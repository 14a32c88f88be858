/* The broker behind real sockets on loopback: what peers may do to it. One thread; the loop is turned until something is so.
 * SPDX-License-Identifier: Apache-2.0 */
#include "broker/core.h"
#include "certificate.h"
#include "kafka/batch_build.h"
#include "kafka/msg/all.h"
#include "kafka_call.h"
#include "net/loop.h"
#include "test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TURNS_MAX = 5000 };

struct house {
    struct fs_sim *disk;
    struct loop *loop;
    struct workers *workers;
    struct broker *b;
    uint16_t port;
    struct err e;
};

static struct house *house_open(uint64_t memory_max, uint32_t connections_max, const char *setting,
                                const char *value)
{
    struct house *h = xnew(struct house);
    struct broker_setting s = {str_of(setting), str_of(value)};
    struct broker_options o = {.dir = "data",
                               .memory_max = memory_max,
                               .connections_max = connections_max,
                               .settings = &s,
                               .settings_n = setting ? 1 : 0};
    struct broker_listen at = {.name = STR("kafka"), .host = STR("127.0.0.1")};

    h->disk = fs_sim_new(1);
    assert_int_equal(loop_new(&clock_real, &h->loop, &h->e), RC_OK);
    assert_int_equal(workers_new(2, &h->workers, &h->e), RC_OK);
    o.loop = h->loop;
    o.fs = fs_sim_fs(h->disk);
    o.workers = h->workers;
    assert_int_equal(broker_new(&o, &h->b, &h->e), RC_OK);
    assert_int_equal(broker_listen(h->b, &at, &h->port, &h->e), RC_OK);
    return h;
}

static void house_close(struct house *h)
{
    broker_free(h->b);
    workers_free(h->workers);
    loop_free(h->loop);
    fs_sim_free(h->disk);
    free(h);
}

static int dial(struct house *h)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(h->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static void turn(struct house *h)
{
    loop_turn(h->loop, 2);
}

static struct bytes frame_of(struct arena *a, int16_t key, int16_t version, const void *request)
{
    struct kafka_request_header head = {.api_key = key,
                                        .api_version = version,
                                        .correlation_id = 1,
                                        .client_id = STR("t"),
                                        .api = kafka_api_of(key)};
    AUTO(buf_fini) struct buf out = {0};
    AUTO(wr_fini) struct wr w;
    size_t at;

    wr_init(&w, &out);
    at = wr_frame_begin(&w);
    kafka_request_header_encode(&w, &head);
    assert_true(kafka_message_of(KAFKA_MESSAGE_REQUEST, key)->encode(&w, version, request));
    wr_frame_end(&w, at);
    return arena_dup(a, buf_view(&out));
}

static struct bytes versions_frame(struct arena *a)
{
    return frame_of(a, KAFKA_API_VERSIONS, 3,
                    &(struct api_versions_request){.client_software_name = STR("a"),
                                                   .client_software_version = STR("1")});
}

/* Sends as much as the socket takes while the broker turns. False: the broker closed. */
static bool push(struct house *h, int fd, struct bytes b)
{
    for (int i = 0; b.n && i < TURNS_MAX; i++) {
        ssize_t n = send(fd, b.p, b.n, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n < 0 && errno != EAGAIN) return false;
        if (n > 0) b = bytes_sub(b, (size_t)n, b.n - (size_t)n);
        turn(h);
    }
    return b.n == 0;
}

/* The next answer's size without the size itself; 0: the broker closed; -1: nothing came. */
static int64_t pull(struct house *h, int fd)
{
    AUTO(buf_fini) struct buf in = {0};

    for (int i = 0; i < TURNS_MAX; i++) {
        size_t want = in.n < 4 ? 4 - in.n : 4 + load_be32(in.p) - in.n;
        uint8_t part[65536];
        ssize_t n = want ? recv(fd, part, MIN(want, sizeof part), MSG_DONTWAIT) : 0;

        if (!want) return load_be32(in.p);
        if (n == 0 || (n < 0 && errno != EAGAIN)) return 0;
        if (n > 0)
            buf_append(&in, bytes_of(part, (size_t)n));
        else
            turn(h);
    }
    return -1;
}

/* ---- */

static void a_request_is_answered_and_a_half_one_waits(void **state)
{
    struct house *h = house_open(0, 0, NULL, NULL);
    struct arena a = {0};
    struct bytes f = versions_frame(&a);
    int fd = dial(h);

    (void)state;
    for (size_t i = 0; i < f.n; i++)
        assert_true(push(h, fd, bytes_sub(f, i, 1)));
    assert_true(pull(h, fd) > 100);
    close(fd);
    arena_fini(&a);
    house_close(h);
}

static void garbage_closes_its_connection_and_no_other(void **state)
{
    static const char *const garbage[] = {
        "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01", "\xff\xff\xff\xff",
        "\x00\x00\x00\x02\x00\x12", "\x00\x00\x00\x0b\x03\xe7\x00\x00\x00\x00\x00\x01\x00\x01x"};
    static const size_t n[] = {18, 8, 4, 6, 15};
    struct house *h = house_open(0, 0, NULL, NULL);
    struct arena a = {0};
    struct broker_stats s;
    int good = dial(h);

    (void)state;
    for (size_t i = 0; i < countof(garbage); i++) {
        int bad = dial(h);

        (void)push(h, bad, bytes_of(garbage[i], n[i]));
        assert_int_equal(pull(h, bad), 0);
        close(bad);
    }
    broker_stats(h->b, &s);
    assert_int_equal(s.frames_bad, countof(garbage));
    assert_true(push(h, good, versions_frame(&a)));
    assert_true(pull(h, good) > 100);
    close(good);
    arena_fini(&a);
    house_close(h);
}

static void at_the_ceiling_who_comes_waits_until_somebody_goes(void **state)
{
    struct house *h = house_open(0, 2, NULL, NULL);
    struct arena a = {0};
    struct broker_stats s;
    int fd[3];

    (void)state;
    for (int i = 0; i < 3; i++) {
        fd[i] = dial(h);
        assert_true(push(h, fd[i], versions_frame(&a)));
    }
    assert_true(pull(h, fd[0]) > 0 && pull(h, fd[1]) > 0);
    for (int i = 0; i < 20; i++)
        turn(h);
    broker_stats(h->b, &s);
    assert_int_equal(s.connections, 2);
    close(fd[0]);
    assert_true(pull(h, fd[2]) > 0);
    close(fd[1]);
    close(fd[2]);
    arena_fini(&a);
    house_close(h);
}

static void at_the_ceiling_who_is_closed_makes_room_too(void **state)
{
    static const char unknown_api[] = "\x00\x00\x00\x0b\x03\xe7\x00\x00\x00\x00\x00\x01\x00\x01x";
    struct house *h = house_open(0, 1, NULL, NULL);
    struct arena a = {0};
    int bad = dial(h), next = dial(h);

    (void)state;
    assert_true(push(h, next, versions_frame(&a)));
    assert_true(push(h, bad, bytes_of(unknown_api, sizeof unknown_api - 1)));
    assert_int_equal(pull(h, bad), 0);
    assert_true(pull(h, next) > 0);
    close(bad);
    close(next);
    arena_fini(&a);
    house_close(h);
}

static void a_client_that_hangs_up_while_it_waits_is_forgotten(void **state)
{
    struct house *h = house_open(0, 0, NULL, NULL);
    struct fetch_request_partition p = {.current_leader_epoch = -1,
                                        .last_fetched_epoch = -1,
                                        .log_start_offset = -1,
                                        .partition_max_bytes = 1000};
    struct fetch_request_topic t = {.topic = STR("t"), .partitions = &p, .partitions_n = 1};
    struct fetch_request q;
    struct arena a = {0};
    struct broker_stats s;
    uint64_t seq;
    int fd = dial(h);

    (void)state;
    assert_int_equal(
        broker_topic_create(
            h->b, &(struct broker_topic_spec){.name = STR("t"), .partitions = 1, .replication = 1},
            NULL, &seq, &h->e),
        RC_OK);
    fetch_request_init_defaults(&q);
    q.max_wait_ms = 600000;
    q.min_bytes = 1;
    q.topics = &t;
    q.topics_n = 1;
    assert_true(push(h, fd, frame_of(&a, KAFKA_FETCH, 11, &q)));
    for (int i = 0; i < 20; i++)
        turn(h);
    broker_stats(h->b, &s);
    assert_int_equal(s.requests_parked, 1);
    close(fd);
    for (int i = 0; i < 100 && s.connections; i++) {
        turn(h);
        broker_stats(h->b, &s);
    }
    assert_int_equal(s.connections, 0);
    assert_int_equal(s.requests_parked, 0);
    arena_fini(&a);
    house_close(h);
}

/* A produce of `bytes` to a topic that does not exist: it is read whole and refused. */
static struct bytes large_frame(struct arena *a, size_t bytes)
{
    struct bytes records = {arena_alloc(a, bytes), bytes};
    struct produce_request_partition p = {.records = records};
    struct produce_request_topic t = {.name = STR("none"), .partitions = &p, .partitions_n = 1};

    return frame_of(
        a, KAFKA_PRODUCE, 9,
        &(struct produce_request){.acks = -1, .timeout_ms = 1000, .topics = &t, .topics_n = 1});
}

static void large_frames_wait_for_memory_in_turn(void **state)
{
    struct house *h = house_open(6 << 20, 0, NULL, NULL);
    struct arena a = {0};
    struct bytes f = large_frame(&a, 4 << 20);
    struct broker_stats s;
    int first = dial(h), second = dial(h);

    (void)state;
    assert_true(push(h, first, bytes_sub(f, 0, f.n - 1000)));
    (void)send(second, f.p, 100000, MSG_DONTWAIT | MSG_NOSIGNAL);
    for (int i = 0; i < 50; i++)
        turn(h);
    broker_stats(h->b, &s);
    assert_in_range(s.memory_used, 4 << 20, 5 << 20);
    assert_true(push(h, first, bytes_sub(f, f.n - 1000, 1000)));
    assert_true(pull(h, first) > 0);
    assert_true(push(h, second, bytes_sub(f, 100000, f.n - 100000)));
    assert_true(pull(h, second) > 0);
    for (int i = 0; i < 20; i++)
        turn(h);
    broker_stats(h->b, &s);
    assert_int_equal(s.memory_used, 0);
    close(first);
    close(second);
    arena_fini(&a);
    house_close(h);
}

static void one_frame_above_the_memory_limit_is_read_when_it_is_alone(void **state)
{
    struct house *h = house_open(1 << 20, 0, NULL, NULL);
    struct arena a = {0};
    int fd = dial(h);

    (void)state;
    assert_true(push(h, fd, large_frame(&a, 3 << 20)));
    assert_true(pull(h, fd) > 0);
    close(fd);
    arena_fini(&a);
    house_close(h);
}

static void a_frame_above_the_limit_closes_the_connection(void **state)
{
    struct house *h = house_open(0, 0, "socket.request.max.bytes", "100000");
    struct arena a = {0};
    int fd = dial(h);

    (void)state;
    (void)push(h, fd, large_frame(&a, 200000));
    assert_int_equal(pull(h, fd), 0);
    close(fd);
    arena_fini(&a);
    house_close(h);
}

static void who_does_not_read_is_not_asked_for_more(void **state)
{
    struct house *h = house_open(0, 0, NULL, NULL);
    struct metadata_request q = {.topics_null = true};
    struct arena a = {0};
    struct broker_stats s;
    struct bytes f;
    char name[16];
    uint64_t seq, sent = 0;
    int fd = dial(h), small = 4096;

    (void)state;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    for (int i = 0; i < 500; i++) {
        snprintf(name, sizeof name, "topic-%d", i);
        assert_int_equal(broker_topic_create(h->b,
                                             &(struct broker_topic_spec){.name = str_of(name),
                                                                         .partitions = 10,
                                                                         .replication = 1},
                                             NULL, &seq, &h->e),
                         RC_OK);
    }
    f = frame_of(&a, KAFKA_METADATA, 9, &q);
    for (int i = 0; i < 3000; i++) {
        if (send(fd, f.p, f.n, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)f.n) sent++;
        turn(h);
    }
    broker_stats(h->b, &s);
    assert_true(sent > 100);
    assert_true(s.memory_used < 32 << 20);
    close(fd);
    arena_fini(&a);
    house_close(h);
}

static void the_way_down_answers_what_was_asked(void **state)
{
    struct house *h = house_open(0, 0, NULL, NULL);
    struct arena a = {0};
    int fd = dial(h);

    (void)state;
    assert_true(push(h, fd, versions_frame(&a)));
    for (int i = 0; i < 10; i++)
        turn(h);
    broker_drain(h->b);
    for (int i = 0; i < TURNS_MAX && !broker_is_drained(h->b); i++)
        turn(h);
    assert_true(broker_is_drained(h->b));
    assert_true(pull(h, fd) > 0);
    close(fd);
    arena_fini(&a);
    house_close(h);
}

static const char *shown(struct house *h, const char *setting)
{
    static char text[100];
    struct config_row row;

    broker_config_row(&h->b->config, broker_config_find(str_of(setting)), &row);
    snprintf(text, sizeof text, STR_FMT, STR_ARG(row.value));
    return text;
}

static void where_it_listens_is_not_what_clients_are_told(void **state)
{
    struct house *h = house_open(0, 0, NULL, NULL);
    struct broker_listen outside = {.name = STR("outside"), .host = STR("127.0.0.1"),
                                    .advertised_host = STR("kafka.example"), .advertised_port = 443};
    char want[100];
    uint16_t port;

    (void)state;
    assert_int_equal(broker_listen(h->b, &outside, &port, &h->e), RC_OK);
    snprintf(want, sizeof want, "PLAINTEXT://127.0.0.1:%u,PLAINTEXT://127.0.0.1:%u", h->port, port);
    assert_string_equal(shown(h, "listeners"), want);
    snprintf(want, sizeof want, "PLAINTEXT://127.0.0.1:%u,PLAINTEXT://kafka.example:443", h->port);
    assert_string_equal(shown(h, "advertised.listeners"), want);
    house_close(h);
}

/* The alert and the reset that follows it are both there before the broker looks. */
static void a_client_that_leaves_in_the_middle_of_the_handshake_is_heard_first(void **state)
{
    static const uint8_t alert[] = {21, 3, 3, 0, 2, 2, 48}; /* RFC 8446, 6: fatal, unknown_ca */
    char folder[] = "/tmp/millrace-listener-XXXXXX", crt[64], key[64];
    struct house *h = house_open(0, 0, NULL, NULL);
    struct broker_listen tls = {.name = STR("tls"), .host = STR("127.0.0.1"), .protocol = BROKER_SSL, .tls = {.crt_path = crt, .key_path = key}};
    int fd;

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(crt, sizeof crt, "%s/crt", folder);
    snprintf(key, sizeof key, "%s/key", folder);
    certificate_write(crt, key, "localhost");
    assert_int_equal(broker_listen(h->b, &tls, &h->port, &h->e), RC_OK);
    fd = dial(h);
    assert_int_equal(send(fd, alert, sizeof alert, 0), sizeof alert);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
    close(fd);
    for (int i = 0; i < 10; i++)
        turn(h);
    assert_int_equal(h->b->stats.handshakes_failed, 1);
    house_close(h);
    unlink(crt);
    unlink(key);
    rmdir(folder);
}

static void a_trouble_with_a_long_text_is_told_of_each_address(void **state)
{
    struct house *h = house_open(0, 0, NULL, NULL);
    __typeof__(*((struct broker_conn *)0)->listener) l = {.name = STR("clients")};
    struct broker_conn one = {.listener = &l, .host = "10.0.0.1"}, two = {.listener = &l, .host = "10.0.0.2"};
    char event[180] = "SSL handshake failed: ";

    (void)state;
    memset(event + strlen(event), 'x', sizeof event - 1 - strlen(event));
    assert_true(trouble_is_new(h->b, event, &one));
    assert_true(trouble_is_new(h->b, event, &two));
    assert_false(trouble_is_new(h->b, event, &one));
    house_close(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(where_it_listens_is_not_what_clients_are_told),
        cmocka_unit_test(a_trouble_with_a_long_text_is_told_of_each_address),
        cmocka_unit_test(a_client_that_leaves_in_the_middle_of_the_handshake_is_heard_first),
        cmocka_unit_test(a_request_is_answered_and_a_half_one_waits),
        cmocka_unit_test(garbage_closes_its_connection_and_no_other),
        cmocka_unit_test(at_the_ceiling_who_comes_waits_until_somebody_goes),
        cmocka_unit_test(at_the_ceiling_who_is_closed_makes_room_too),
        cmocka_unit_test(a_client_that_hangs_up_while_it_waits_is_forgotten),
        cmocka_unit_test(large_frames_wait_for_memory_in_turn),
        cmocka_unit_test(one_frame_above_the_memory_limit_is_read_when_it_is_alone),
        cmocka_unit_test(a_frame_above_the_limit_closes_the_connection),
        cmocka_unit_test(who_does_not_read_is_not_asked_for_more),
        cmocka_unit_test(the_way_down_answers_what_was_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
