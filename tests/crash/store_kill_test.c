/* A real process on a real disk, killed with -9 in the middle of its appends, again and again: what it had acknowledged is
 * there, in order, once. KILLS in the environment chooses how often. SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "unit/broker/storage.h"
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LOGS = 7, KILLS_DEFAULT = 15 };

struct ack { uint32_t log, number; int64_t base; };

struct child { struct store_options opt; struct store *store; struct workers *workers; struct mailbox *mailbox; struct err err; };

static struct log *log_n(struct store *s, uint32_t n)
{
    struct uuid   id = topic_n((uint8_t)n);
    char              name[16];
    struct log       *l;
    struct log_config c = log_config_default;

    snprintf(name, sizeof name, "kill%u", n);
    l = store_log(s, &id, str_of(name), 0);
    c.segment_bytes = 1 << 20;
    log_set_config(l, &c);
    return l;
}

static void child_open(struct child *b, const char *dir)
{
    must(!workers_new(3, &b->workers, &b->err));
    b->mailbox = mailbox_new();
    b->opt = (struct store_options){.dir = dir, .fs = &fs_real, .clock = &clock_real, .workers = b->workers, .mailbox = b->mailbox,
                                    .wal_bytes_first = 1 << 20, .wal_bytes_max = 16 << 20};
    if (store_open(&b->opt, &b->store, &b->err)) {
        fprintf(stderr, "open: %s\n", b->err.text);
        _exit(3);
    }
}

/* Appends for ever; what is acknowledged goes into the pipe. */
static void child_main(const char *dir, int out, uint32_t from)
{
    struct child b = {0};
    struct rng   rng;

    child_open(&b, dir);
    rng_init(&rng, from + 1);
    for (uint32_t number = from;;) {
        struct ack    acks[32];
        size_t        n = 0;
        uint64_t      seq = 0;
        struct pollfd p = {.fd = mailbox_fd(b.mailbox), .events = POLLIN};

        for (size_t k = 1 + (size_t)rng_below(&rng, 32); k-- > 0;) {
            struct buf          batch = {0};
            struct log_appended a;
            uint32_t            i = (uint32_t)rng_below(&rng, LOGS);
            char                text[32];

            snprintf(text, sizeof text, "#%u ", number);
            batch_make(&batch, (struct batch_of){.text = text, .pad = (size_t)rng_below(&rng, 6000)});
            if (!log_append(log_n(b.store, i), batch.p, batch.n, 0, &a, &b.err)) {
                acks[n++] = (struct ack){i, number++, a.base_offset};
                seq = a.seq;
            }
            buf_fini(&batch);
        }
        do {
            store_turn_end(b.store);
            poll(&p, 1, 1000);
            mailbox_drain(b.mailbox);
        } while (store_durable_seq(b.store) < seq);
        if (n && write(out, acks, n * sizeof *acks) < 0) _exit(4);
    }
}

static size_t run_and_kill(const char *dir, uint32_t from, useconds_t us, struct ack **acks, size_t have)
{
    int   fds[2], status;
    pid_t pid;
    ssize_t got;

    assert_int_equal(pipe(fds), 0);
    pid = fork();
    if (!pid) child_main(dir, fds[1], from);
    close(fds[1]);
    for (useconds_t t = 0; t < us; t += 1000) {                   /* reads meanwhile, so that the pipe never fills */
        struct pollfd p = {.fd = fds[0], .events = POLLIN};

        if (poll(&p, 1, 1) <= 0) continue;
        *acks = xrealloc(*acks, have + 1024, sizeof **acks);
        if ((got = read(fds[0], *acks + have, 1024 * sizeof **acks)) > 0) have += (size_t)got / sizeof **acks;
    }
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    assert_true(WIFSIGNALED(status));
    for (;;) {
        *acks = xrealloc(*acks, have + 1024, sizeof **acks);
        if ((got = read(fds[0], *acks + have, 1024 * sizeof **acks)) <= 0) break;
        have += (size_t)got / sizeof **acks;
    }
    close(fds[0]);
    return have;
}

/* Every acknowledged batch at its offset; returns how many batches there are. */
static uint64_t check_all(const char *dir, const struct ack *acks, size_t n, int64_t ends[LOGS])
{
    struct child   b = {0};
    struct storage t = {0};
    uint64_t       sum = 0;

    child_open(&b, dir);
    for (size_t i = 0; i < n; i++) {
        char        text[32];
        const char *got = log_text(&t, log_n(b.store, acks[i].log), acks[i].base);

        snprintf(text, sizeof text, "#%u ", acks[i].number);
        if (!got || strcmp(got, text) != 0) fail_msg("log %u offset %lld: wanted %s, got %s", acks[i].log, (long long)acks[i].base, text, got ? got : "nothing");
    }
    for (uint32_t i = 0; i < LOGS; i++) {
        ends[i] = log_end(log_n(b.store, i));
        sum += (uint64_t)ends[i];
    }
    b.store = store_close(b.store);
    workers_free(b.workers);
    mailbox_free(b.mailbox);
    return sum;
}

static void acknowledged_batches_survive_kill_9(void **state)
{
    char        dir[] = "millrace-kill-XXXXXX";
    const char *env = getenv("KILLS");
    unsigned    kills = env ? (unsigned)strtoul(env, NULL, 10) : KILLS_DEFAULT;
    struct ack *acks = NULL;
    size_t      n = 0;
    struct rng  rng;
    char        cmd[64];

    (void)state;
    assert_non_null(mkdtemp(dir));
    rng_init(&rng, process_seed());
    for (unsigned k = 0; k < kills; k++) {
        int64_t ends[LOGS];

        n = run_and_kill(dir, (uint32_t)n * 2 + k * 100000, 20000 + (useconds_t)rng_below(&rng, 120000), &acks, n);
        assert_true(check_all(dir, acks, n, ends) >= n);
    }
    assert_true(n > 0);
    snprintf(cmd, sizeof cmd, "rm -rf -- %s", dir);
    assert_int_equal(system(cmd), 0);
    free(acks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(acknowledged_batches_survive_kill_9)};

    diag_set_levels(STR("error"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
