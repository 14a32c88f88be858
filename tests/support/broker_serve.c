/* The broker alone on a socket: broker_serve DIR [NAME=VALUE …]. Prints "ready kafka=HOST:PORT pid=N", ends at SIGTERM.
 * For trying clients on it without the rest of the program. SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "broker/broker.h"
#include "net/loop.h"
#include "sys/fs.h"
#include "sys/worker.h"

#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <unistd.h>

static struct loop *loop;

static void on_signal(struct watch *w, uint32_t events)
{
    (void)w;
    (void)events;
    loop_stop(loop);
}

static int fail(const struct err *e)
{
    fprintf(stderr, "%s\n", e->text);
    return 1;
}

int main(int argc, char **argv)
{
    struct broker_setting *settings = xnew_array(struct broker_setting, (size_t)argc);
    struct broker_listen at = {.name = STR("kafka"), .host = STR("127.0.0.1")};
    struct watch signals = {0};
    struct workers *workers;
    struct broker *b;
    sigset_t set;
    uint16_t port;
    struct err e;
    size_t n = 0;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    for (int i = 2; i < argc; i++)
        must(str_cut(str_of(argv[i]), '=', &settings[n].name, &settings[n].value)), n++;
    if (argc < 2 || loop_new(&clock_real, &loop, &e) || workers_new(3, &workers, &e))
        return fail(&e);
    if (loop_watch(loop, &signals, signalfd(-1, &set, SFD_CLOEXEC), 1, on_signal, &e))
        return fail(&e);
    if (broker_new(&(struct broker_options){.loop = loop,
                                            .fs = &fs_real,
                                            .workers = workers,
                                            .dir = argv[1],
                                            .settings = settings,
                                            .settings_n = n},
                   &b, &e))
        return fail(&e);
    if (getenv("PORT")) at.port = (uint16_t)atoi(getenv("PORT"));
    if (broker_listen(b, &at, &port, &e)) return fail(&e);
    printf("ready kafka=127.0.0.1:%u pid=%d\n", port, getpid());
    fflush(stdout);
    loop_run(loop);
    broker_drain(b);
    for (int i = 0; i < 100 && !broker_is_drained(b); i++)
        loop_turn(loop, 10);
    broker_free(b);
    workers_free(workers);
    loop_free(loop);
    free(settings);
    return 0;
}
