/* Design note: the order of starting is the order of promises. The data folder is recovered before anything listens; every
 * port is taken before a thread runs, so that a taken one is an error and not a half-started process; the ready line is printed
 * when the resources have been read and every lane uses them. The way down is the reverse: requests first, the log last.
 * SPDX-License-Identifier: Apache-2.0 */
#include "app/serve.h"
#include "app/harden.h"
#include "app/parts.h"
#include "base/diag.h"
#include "bus/bus.h"
#include "control/control.h"
#include "sys/fs.h"
#include "sys/worker.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum { WORKERS = 4, EXIT_FAILED = 1, EXIT_LOCKED = 3, EXIT_DAMAGE = 4, DESCRIPTORS_WANTED = 1 << 18 };

struct serve {
    const struct config *config;
    struct loop         *loop;
    struct workers      *workers;
    struct log_side      log;
    struct lanes         lanes;
    struct control      *control;
    struct watch         signals;
    int                  signal_fd, status;
    bool                 started, stopping;
};

/* ---- starting ---- */

static void descriptors_raise(void)
{
    struct rlimit l;

    if (getrlimit(RLIMIT_NOFILE, &l)) return;
    l.rlim_cur = MIN(l.rlim_max, (rlim_t)DESCRIPTORS_WANTED);
    setrlimit(RLIMIT_NOFILE, &l);
}

static bool process_ready(void *ctx, struct str *ret_why)
{
    struct serve *s = ctx;

    return control_ready(s->control, ret_why) && bus_ready(s->log.bus, ret_why);
}

/* The one line that every log begins with: which program, which data, where it listens. */
static void log_started(const struct serve *s)
{
    AUTO(buf_fini) struct buf listeners = {0};
    const struct config      *c = s->config;

    buf_append_str(&listeners, buf_str(&s->log.ready));
    buf_append_str(&listeners, buf_str(&s->lanes.ready));
    diag(DIAG_INFO, "serve.started", KV_CSTR("version", MILLRACE_VERSION), KV_STR("data", config_runs_broker(c) ? c->data : STR("")),
         KV_STR("listeners", ((struct str){(const char *)listeners.p + 1, listeners.n - 1})), KV_STR("kafka", c->kafka_bootstrap), KV_STR("namespace", c->namespace), KV_U64("pid", getpid()));
}

static void say_ready(struct serve *s)
{
    AUTO(buf_fini) struct buf line = {0};

    buf_printf(&line, "ready" STR_FMT STR_FMT " pid=%d\n", STR_ARG(buf_str(&s->log.ready)), STR_ARG(buf_str(&s->lanes.ready)), (int)getpid());
    for (size_t at = 0; at < line.n;) {
        ssize_t n = write(STDOUT_FILENO, line.p + at, line.n - at);

        if (n < 0 && errno != EINTR) break; /* nobody reads it: serve all the same */
        if (n > 0) at += (size_t)n;
    }
    s->started = true;
    harden_look(s->config);
    log_started(s);
}

static void publish(void *ctx, struct flow_snapshot *snapshot, struct msg *taken)
{
    struct serve *s = ctx;

    lanes_publish(&s->lanes, snapshot, loop_mailbox(s->loop), taken);
}

static void fail(struct serve *s, const struct err *e)
{
    if (e->rc == RC_CANCELLED) { /* ended on request before it had begun */
        diag(DIAG_INFO, "serve.stopping", KV_CSTR("why", e->text));
        return;
    }
    fprintf(stderr, "millrace: %s\n", e->text);
    s->status = e->rc == RC_LOCKED ? EXIT_LOCKED : e->rc == RC_CORRUPT ? EXIT_DAMAGE : EXIT_FAILED;
}

static void stop_begin(struct serve *s);

static void control_started(void *ctx, const struct err *e)
{
    struct serve *s = ctx;

    if (!e->rc) {
        say_ready(s);
        return;
    }
    fail(s, e);
    stop_begin(s);
}

/* One namespace has one data plane inside a broker, or any number outside: two kinds would run everything twice. */
static void refused_run(struct msg *m)
{
    struct serve *s = container_of(container_of(m, struct lanes, refused), struct serve, lanes);
    struct err e;

    if (s->stopping) return;
    err_set(&e, RC_EXISTS,
            "namespace " STR_FMT " is served by the data plane inside the broker at " STR_FMT
            "; send requests there, choose another --namespace, or start that one with --broker-only",
            STR_ARG(s->config->namespace), STR_ARG(s->config->kafka_bootstrap));
    fail(s, &e);
    stop_begin(s);
}

static void shared_refused(void *lanes)
{
    struct lanes *l = lanes;

    l->refused.run = refused_run;
    mailbox_post(loop_mailbox(container_of(l, struct serve, lanes)->loop), &l->refused);
}

static void control_open(struct serve *s)
{
    const struct config   *c = s->config;
    struct control_options o = {
        .loop = s->loop,
        .bus = s->log.bus,
        .topic_prefix = c->kafka_topic_prefix,
        .topic_namespace = c->namespace,
        .replication = (int32_t)c->kafka_topics_replication_factor,
        .message_bytes_max = c->kafka_producer_message_max_bytes,
        .record = s->lanes.flow.record,
        .recover_within_ms = c->flow_recover_within_ms,
        .idempotency_window_ms = c->flow_idempotency_window_ms,
        .store_file = c->control_store == CONFIG_CONTROL_STORE_FILE,
        .data = c->data,
        .fs = &fs_real,
        .workers = s->workers,
        .publish = publish,
        .started = control_started,
        .ctx = s,
    };

    s->control = control_new(&o);
}

/* ---- ending ---- */

static void control_stopped(void *ctx)
{
    struct serve *s = ctx;

    s->control = NULL;
    loop_stop(s->loop);
}

static void lanes_drained(struct msg *m)
{
    struct serve *s = container_of(container_of(m, struct lanes, drained), struct serve, lanes);

    control_stop(s->control, control_stopped, s);
}

static void stop_begin(struct serve *s)
{
    if (s->stopping) return;
    s->stopping = true;
    if (!s->log.bus) loop_stop(s->loop);
    else lanes_drain(&s->lanes, loop_now_ms(s->loop) + s->config->gateway_drain_ms, loop_mailbox(s->loop), lanes_drained);
}

static void on_signal(struct watch *w, uint32_t events)
{
    struct serve           *s = container_of(w, struct serve, signals);
    struct signalfd_siginfo info;

    (void)events;
    if (read(s->signal_fd, &info, sizeof info) != (ssize_t)sizeof info) return;
    if (s->stopping) {
        diag(DIAG_WARN, "serve.killed", KV_CSTR("why", "a second signal: ended without waiting; what was answered is on disk"));
        _exit(EXIT_FAILED);
    }
    diag(DIAG_INFO, "serve.stopping", KV_U64("signal", info.ssi_signo));
    stop_begin(s);
}

static enum rc signals_open(struct serve *s, struct err *e)
{
    sigset_t set;

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    s->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (s->signal_fd < 0) return err_sys(e, "signalfd");
    return loop_watch(s->loop, &s->signals, s->signal_fd, EPOLLIN, on_signal, e);
}

/* The loop does not run yet: a signal is seen by its descriptor, and left there. */
static bool no_signal(void *ctx)
{
    struct pollfd p = {.fd = ((struct serve *)ctx)->signal_fd, .events = POLLIN};

    return poll(&p, 1, 0) == 0;
}

static enum rc serve_open(struct serve *s, struct err *e)
{
    const struct config *c = s->config;

    if (loop_new(&clock_real, &s->loop, e) || signals_open(s, e) || workers_new(WORKERS, &s->workers, e)) return e->rc;
    s->log.go_on = no_signal;
    s->log.ctx = s;
    if (log_side_open(&s->log, c, s->workers, e)) return e->rc;
    s->lanes.shared_refused = shared_refused;
    s->lanes.main_loop = s->loop;
    if (s->log.bus && lanes_open(&s->lanes, c, &s->log, s->workers, process_ready, s, e)) return e->rc;
    if (s->log.bus) {
        control_open(s);
        lanes_manage(&s->lanes, s->control);
    }
    if (log_side_run(&s->log, e)) return e->rc;
    return s->log.bus ? lanes_run(&s->lanes, e) : RC_OK;
}

static void serve_close(struct serve *s)
{
    lanes_close(&s->lanes);
    log_side_close(&s->log);
    lanes_free(&s->lanes);
    workers_free(s->workers);
    if (s->loop) {
        mailbox_drain(loop_mailbox(s->loop));
        loop_unwatch(s->loop, &s->signals);
        loop_free(s->loop);
    }
    if (s->signal_fd >= 0) close(s->signal_fd);
}

int app_serve(const struct config *c)
{
    struct serve s = {.config = c, .signal_fd = -1};
    struct err   e;

    diag_set_levels(c->telemetry_log_level);
    diag_set_json(c->telemetry_log_format == CONFIG_TELEMETRY_LOG_FORMAT_JSON);
    for (size_t i = 0; i < c->notes.n; i++) diag(DIAG_WARN, "config.note", KV_STR("note", c->notes.list[i]));
    descriptors_raise();
    harden_process(c);
    if (serve_open(&s, &e)) {
        fail(&s, &e);
    } else {
        if (!s.log.bus) say_ready(&s);
        loop_run(s.loop);
    }
    serve_close(&s);
    return s.status;
}
