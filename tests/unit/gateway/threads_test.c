/* Several gateways on threads of their own behind one door. SPDX-License-Identifier: Apache-2.0 */
#include "gateway/gateway.h"
#include "support/flow_fixture.h"
#include "sys/thread.h"
#include "test.h"
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LANES = 3, CALLERS = 4, CALLS = 30 };

struct lane {
    struct fixture f;
    struct tcp *tcp;
    struct gateway *g;
    struct thread *thread;
};
struct world {
    struct lane lanes[LANES];
    struct metrics_source list[LANES];
    struct metrics_sources sources;
    struct tcp_ceiling ceiling;
    struct gateway_door *door;
};

static void lane_main(void *arg)
{
    loop_run(((struct lane *)arg)->f.loop);
}

static void world_new(struct world *w)
{
    struct gateway *gateways[LANES];
    struct err e;

    *w = (struct world){.sources = {w->list, LANES}};
    for (int i = 0; i < LANES; i++) {
        struct lane *l = &w->lanes[i];

        fixture_options(&l->f);
        fixture_open(&l->f);
        l->tcp = tcp_new(l->f.loop);
        assert_int_equal(gateway_new(&(struct gateway_options){.tcp = l->tcp,
                                                               .flow = l->f.flow,
                                                               .upstream = l->f.up,
                                                               .message_bytes_max = 1 << 20,
                                                               .timeout_ms = 1000,
                                                               .timeout_ms_max = 1000,
                                                               .metrics = true,
                                                               .sources = &w->sources,
                                                               .name = STR("millrace"),
                                                               .version = STR("1")},
                                     &l->g, &e),
                         RC_OK);
        gateways[i] = l->g;
        w->list[i] = gateway_metrics_source(l->g);
    }
    assert_int_equal(gateway_listen(gateways, LANES, &(struct gateway_door_options){STR("127.0.0.1:0"), &w->ceiling, NULL}, &w->door, &e),
                     RC_OK);
    for (int i = 0; i < LANES; i++)
        assert_int_equal(thread_start("lane", lane_main, &w->lanes[i], &w->lanes[i].thread, &e),
                         RC_OK);
}

static void world_free(struct world *w)
{
    for (int i = 0; i < LANES; i++) {
        loop_stop(w->lanes[i].f.loop);
        thread_join(w->lanes[i].thread);
    }
    gateway_door_close(w->door);
    for (int i = 0; i < LANES; i++) {
        gateway_free(w->lanes[i].g);
        tcp_free(w->lanes[i].tcp);
        fixture_close(&w->lanes[i].f);
    }
}

/* One request on a connection of its own; the whole answer in `into`. */
static void get(const struct addr *to, const char *path, char *into, size_t room)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    size_t n = 0;
    ssize_t k;

    must(fd >= 0 && connect(fd, &to->u.sa, to->n) == 0);
    must(dprintf(fd, "GET %s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", path) > 0);
    while ((k = read(fd, into + n, room - n - 1)) > 0)
        n += (size_t)k;
    into[n] = 0;
    close(fd);
}

struct caller {
    struct thread *thread;
    struct addr to;
    int answered;
};

static void caller_main(void *arg)
{
    struct caller *c = arg;
    char text[1 << 16];

    for (int i = 0; i < CALLS; i++) {
        get(&c->to, i % 3 ? "/v2" : "/metrics", text, sizeof text);
        c->answered += strncmp(text, "HTTP/1.1 200 OK", 15) == 0;
    }
}

static double metric(const char *text, const char *name)
{
    const char *at = strstr(text, name);

    assert_non_null(at);
    return strtod(at + strlen(name), NULL);
}

static void connections_are_dealt_out_and_numbers_collected_over_loops(void **state)
{
    struct world w;
    struct caller callers[CALLERS] = {{0}};
    static char text[1 << 16];
    struct err e;

    (void)state;
    world_new(&w);
    for (int i = 0; i < CALLERS; i++) {
        callers[i].to = *gateway_door_addr(w.door);
        assert_int_equal(thread_start("caller", caller_main, &callers[i], &callers[i].thread, &e),
                         RC_OK);
    }
    for (int i = 0; i < CALLERS; i++) {
        thread_join(callers[i].thread);
        assert_int_equal(callers[i].answered, CALLS);
    }
    get(gateway_door_addr(w.door), "/metrics", text, sizeof text);
    assert_int_equal(metric(text, "\nmillrace_http_connections_total "), CALLERS * CALLS + 1);
    assert_int_equal(metric(text, "\nmillrace_http_requests_total{protocol=\"http1\"} "),
                     CALLERS * CALLS + 1);
    world_free(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connections_are_dealt_out_and_numbers_collected_over_loops),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
