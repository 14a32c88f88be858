/* Design note: each check says one thing, whatever the others found. SPDX-License-Identifier: Apache-2.0 */
#include "app/doctor.h"
#include "app/parts.h"
#include "base/diag.h"
#include "bus/bus.h"
#include "bus/capabilities.h"
#include "bus/remote.h"
#include "bus/trouble.h"
#include "gateway/tokens.h"
#include "net/certificate.h"
#include "net/tls.h"
#include "sys/worker.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

enum {
    FILES_WANTED = 65536, BLOCK_BYTES = 4096, SYNCS = 40, SLOW_SYNC_US = 5000, SLOW_TRIP_US = 20000, EXPIRY_WARN_DAYS = 14, RESERVE_BYTES = 64 << 20,
    ROOM_BYTES = 1 << 30, CONNECT_MS = 5000, WORKERS = 2, TURN_MS = 50, TRIPS = 30
};

/* ---- findings ---- */

void finding_say(finding_fn fn, void *ctx, const char *check, enum verdict v, const char *fmt, ...)
{
    struct finding f = {.check = check, .verdict = v};
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(f.text, sizeof f.text, fmt, ap);
    va_end(ap);
    fn(ctx, &f);
}

void finding_advise(finding_fn fn, void *ctx, const char *check, enum verdict v, const char *remedy, const char *fmt, ...)
{
    struct finding f = {.check = check, .verdict = v};
    va_list ap;

    snprintf(f.remedy, sizeof f.remedy, "%s", remedy);
    va_start(ap, fmt);
    vsnprintf(f.text, sizeof f.text, fmt, ap);
    va_end(ap);
    fn(ctx, &f);
}

void finding_trouble(finding_fn fn, void *ctx, const char *check, const struct err *e)
{
    struct finding f = {.check = check, .verdict = VERDICT_FAIL};
    struct trouble t;

    if (trouble_of_err(e, &t)) {
        f.trouble = trouble_name(t.kind);
        snprintf(f.text, sizeof f.text, "%s: %s", trouble_sentence(t.kind), t.cause);
        snprintf(f.remedy, sizeof f.remedy, "%s", t.remedy);
    } else {
        snprintf(f.text, sizeof f.text, "%s", e->text);
    }
    fn(ctx, &f);
}

static int by_time(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

uint64_t times_part(struct times *t, unsigned percent)
{
    if (!t->n) return 0;
    qsort(t->us, t->n, sizeof t->us[0], by_time);
    return t->us[MIN(t->n - 1, t->n * percent / 100)];
}

static double ms(uint64_t us)
{
    return (double)us / 1000;
}

void doctor_round_trip(struct times *t, const char *by, finding_fn fn, void *ctx)
{
    uint64_t median = times_part(t, 50), high = times_part(t, 99);

    finding_advise(fn, ctx, "round trip", median > SLOW_TRIP_US ? VERDICT_WARN : VERDICT_OK,
                   median > SLOW_TRIP_US ? "bring the data plane nearer to the brokers: each reply waits for one round trip" : "",
                   "%.2f ms to the broker and back (median of %zu requests %s; 99th percentile %.2f ms); higher latency there is lower pipeline throughput", ms(median),
                   t->n, by, ms(high));
}

/* ---- this machine ---- */

static void clock_check(finding_fn fn, void *ctx)
{
    struct timex tx = {0};
    int state = adjtimex(&tx);

    if (state < 0) finding_say(fn, ctx, "clock", VERDICT_WARN, "the kernel does not say whether the clock is synchronised: %s", strerror(errno));
    else if (state == TIME_ERROR || tx.status & STA_UNSYNC)
        finding_advise(fn, ctx, "clock", VERDICT_WARN, "run chrony or systemd-timesyncd; clocks of replicas may differ by less than flow.recoverGraceMs",
                       "nothing keeps this machine's clock synchronised");
    else finding_say(fn, ctx, "clock", VERDICT_OK, "synchronised, at most %.0f ms off", ms((uint64_t)MAX(tx.maxerror, 0)));
}

static void files_check(finding_fn fn, void *ctx)
{
    struct rlimit l;

    if (getrlimit(RLIMIT_NOFILE, &l)) return;
    if (l.rlim_max == RLIM_INFINITY) finding_say(fn, ctx, "open files", VERDICT_OK, "no limit");
    else if (l.rlim_max >= FILES_WANTED) finding_say(fn, ctx, "open files", VERDICT_OK, "%" PRIu64 " may be open", (uint64_t)l.rlim_max);
    else
        finding_advise(fn, ctx, "open files", VERDICT_WARN, "raise it (ulimit -Hn, LimitNOFILE=), connections and segments take one each",
                       "only %" PRIu64 " may be open; %d are comfortable", (uint64_t)l.rlim_max, FILES_WANTED);
}

/* The folder, or what there is of the way to it. */
static void there_of(const char *dir, char *to, size_t n)
{
    char *slash;

    snprintf(to, n, "%s", dir);
    while (access(to, F_OK) && (slash = strrchr(to, '/')) && slash != to) *slash = 0;
    if (access(to, F_OK)) snprintf(to, n, dir[0] == '/' ? "/" : ".");
}

static void space_check(const struct config *c, const char *dir, finding_fn fn, void *ctx)
{
    uint64_t reserve = c->broker_wal_size_max + RESERVE_BYTES, free_bytes;
    struct statvfs v;

    if (statvfs(dir, &v)) {
        finding_say(fn, ctx, "disk", VERDICT_FAIL, "%s: %s", dir, strerror(errno));
        return;
    }
    free_bytes = (uint64_t)v.f_bavail * v.f_frsize;
    if (free_bytes >= reserve + ROOM_BYTES) finding_say(fn, ctx, "disk", VERDICT_OK, "%.1f GiB free at %s", (double)free_bytes / (1 << 30), dir);
    else
        finding_advise(fn, ctx, "disk", free_bytes < reserve ? VERDICT_FAIL : VERDICT_WARN, "make room, shorten log.retention.ms or log.retention.bytes, or move the data folder",
                       "%.2f GiB free at %s; below %.2f GiB nothing more is written but what is under way", (double)free_bytes / (1 << 30), dir, (double)reserve / (1 << 30));
}

static bool syncs_time(int fd, bool direct, struct times *t)
{
    _Alignas(BLOCK_BYTES) static const uint8_t block[BLOCK_BYTES];

    for (t->n = 0; t->n < SYNCS; t->n++) {
        uint64_t begun = clock_mono_us(&clock_real);

        if (pwrite(fd, block, BLOCK_BYTES, (off_t)(t->n * BLOCK_BYTES)) != BLOCK_BYTES || (!direct && fdatasync(fd))) return false;
        t->us[t->n] = clock_mono_us(&clock_real) - begun;
    }
    return true;
}

/* As the write-ahead log writes: a file that was made beforehand, around the page cache. */
static void sync_check(const char *dir, finding_fn fn, void *ctx)
{
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC | O_DIRECT | O_DSYNC, 0600);
    struct times t = {0};
    bool direct = fd >= 0;

    if (!direct) fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0 || posix_fallocate(fd, 0, SYNCS * BLOCK_BYTES) || !syncs_time(fd, direct, &t)) {
        finding_advise(fn, ctx, "sync", VERDICT_FAIL, "give the user of this process a data folder that it may write to", "%s: no file can be written: %s", dir, strerror(errno));
    } else {
        bool slow = times_part(&t, 50) > SLOW_SYNC_US;

        finding_advise(fn, ctx, "sync", slow || !direct ? VERDICT_WARN : VERDICT_OK,
                       slow ? "use a faster device for the data folder: every acknowledged record waits for one such write"
                       : direct ? "" : "use a file system with O_DIRECT (ext4, xfs) for the data folder: the log is written through the page cache otherwise",
                       "%.2f ms for 4 KiB on the device (median; 99th percentile %.2f ms), %s", ms(times_part(&t, 50)), ms(times_part(&t, 99)), direct ? "O_DIRECT" : "without O_DIRECT");
    }
    if (fd >= 0) close(fd);
}

void doctor_machine(const struct config *c, finding_fn fn, void *ctx)
{
    char dir[4096];

    clock_check(fn, ctx);
    files_check(fn, ctx);
    if (!config_runs_broker(c)) return;
    there_of(c->data.p, dir, sizeof dir);
    space_check(c, dir, fn, ctx);
    sync_check(dir, fn, ctx);
}

/* ---- certificates ---- */

static void certificate(const char *of, const char *path, finding_fn fn, void *ctx)
{
    FILE *f = fopen(path, "re");
    X509 *x = f ? PEM_read_X509(f, NULL, NULL, NULL) : NULL;
    AUTO(buf_fini) struct buf subject = {0}, end = {0};
    const char *name, *ends;
    int days = 0, seconds = 0, early_days = 0, early_seconds = 0;

    if (!x) {
        finding_say(fn, ctx, "certificate", VERDICT_FAIL, "%s: %s: %s", of, path, f ? "there is no certificate in it" : strerror(errno));
        ERR_clear_error();
        if (f) fclose(f);
        return;
    }
    certificate_name_put(X509_get_subject_name(x), &subject);
    certificate_date_put(X509_get0_notAfter(x), &end);
    name = buf_cstr(&subject);
    ends = buf_cstr(&end);
    ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(x));
    ASN1_TIME_diff(&early_days, &early_seconds, NULL, X509_get0_notBefore(x));
    if (days < 0 || seconds < 0) finding_advise(fn, ctx, "certificate", VERDICT_FAIL, "renew it", "%s: %s (%s) ended on %s", of, path, name, ends);
    else if (early_days > 0 || early_seconds > 0)
        finding_advise(fn, ctx, "certificate", VERDICT_FAIL, "compare this machine's clock with that of its authority", "%s: %s (%s) is not valid yet", of, path, name);
    else
        finding_advise(fn, ctx, "certificate", days < EXPIRY_WARN_DAYS ? VERDICT_WARN : VERDICT_OK, days < EXPIRY_WARN_DAYS ? "renew it" : "", "%s: %s (%s) ends on %s", of, path,
                       name, ends);
    X509_free(x);
    fclose(f);
}

/* Whether a listener would open with its files: the key is there and belongs to the certificate, the authorities can be read. */
static void files_fit(const char *of, const struct tls_options *o, finding_fn fn, void *ctx)
{
    struct tls_server *s;
    struct err e;

    if (tls_server_new(o, &s, &e))
        finding_advise(fn, ctx, "certificate", VERDICT_FAIL, "a start is refused with these files, and a process that runs keeps those it has: put them right", "%s: %s", of, e.text);
    else tls_server_free(s);
}

static void tokens_check(const struct config *c, finding_fn fn, void *ctx)
{
    struct tokens *t = NULL;
    struct err e;

    if (!config_runs_gateway(c) || !c->security_gateway_tokens.n) return;
    if (tokens_load(c->security_gateway_tokens.p, &t, &e))
        finding_advise(fn, ctx, "tokens", VERDICT_FAIL, "a start is refused with this file, and a process that runs keeps the tokens it has: put it right", "%s", e.text);
    else finding_say(fn, ctx, "tokens", VERDICT_OK, "%zu of the inference port at " STR_FMT, tokens_count(t), STR_ARG(c->security_gateway_tokens));
    tokens_free(t);
}

void doctor_certificates(const struct config *c, finding_fn fn, void *ctx)
{
    bool embedded = config_is_embedded(c), secret = c->security_kafka_ssl_client_secret.n;
    bool gateway_secret = c->security_gateway_tls_secret.n, clients_secret = c->security_gateway_tls_client_secret.n;

    for (size_t i = 0; config_runs_broker(c) && i < c->broker_listeners.n; i++) {
        const struct config_listener *l = &c->broker_listeners.list[i];
        char of[160];

        snprintf(of, sizeof of, "broker listener " STR_FMT, STR_ARG(l->name));
        if (!l->crt_path.n) continue;
        certificate(of, l->crt_path.p, fn, ctx);
        files_fit(of, &(struct tls_options){l->crt_path.p, l->key_path.p, l->client_ca_path.p, l->client_auth, false}, fn, ctx);
    }
    if (config_runs_gateway(c) && config_gateway_encrypts(c) && !gateway_secret) {
        const struct tls_options o = {c->security_gateway_tls_crt_path.p, c->security_gateway_tls_key_path.p, c->security_gateway_tls_client_ca_path.p,
                                      config_gateway_client_auth(c), true};

        certificate("inference port", c->security_gateway_tls_crt_path.p, fn, ctx);
        if (!clients_secret) files_fit("inference port", &o, fn, ctx);
    }
    tokens_check(c, fn, ctx);
    if (!embedded && !secret && c->security_kafka_ssl_client_crt_path.n && !access(c->security_kafka_ssl_client_crt_path.p, F_OK))
        certificate("client of Kafka", c->security_kafka_ssl_client_crt_path.p, fn, ctx);
    if (!embedded && !secret && c->security_kafka_ssl_client_broker_ca_path.n && !access(c->security_kafka_ssl_client_broker_ca_path.p, F_OK))
        certificate("authority of the brokers", c->security_kafka_ssl_client_broker_ca_path.p, fn, ctx);
}

/* ---- a cluster ---- */

struct cluster {
    struct loop *loop;
    struct workers *workers;
    struct log_side log;
    uint64_t until_ms;
};

static bool go_on(void *ctx)
{
    return clock_mono_ms(&clock_real) < ((struct cluster *)ctx)->until_ms;
}

static void connect_failed(const struct err *e, finding_fn fn, void *ctx)
{
    struct trouble t;
    struct err why = *e;

    if (!trouble_of_err(e, &t) && trouble_now(&t)) trouble_err(&t, &why);
    if (!trouble_of_err(&why, &t) && why.rc == RC_CANCELLED) {
        t = trouble_make(TROUBLE_BROKER, "no answer within %d s", CONNECT_MS / 1000);
        trouble_err(&t, &why);
    }
    finding_trouble(fn, ctx, "kafka", &why);
}

static void trips(struct cluster *k, finding_fn fn, void *ctx)
{
    struct times t = {0};
    struct err e;

    for (t.n = 0; t.n < TRIPS; t.n++)
        if (bus_remote_round_trip(k->log.bus, &t.us[t.n], &e)) {
            finding_trouble(fn, ctx, "round trip", &e);
            return;
        }
    doctor_round_trip(&t, "for metadata", fn, ctx);
}

static void capabilities(struct cluster *k, finding_fn fn, void *ctx)
{
    struct capabilities *all = xnew(struct capabilities);
    struct err e;
    enum rc rc = bus_capabilities(k->log.bus, all, &e);

    if (rc) finding_say(fn, ctx, "capabilities", VERDICT_WARN, "%s", e.text);
    for (size_t i = 0; !rc && i < all->n; i++) {
        const struct capability *row = &all->list[i];

        finding_advise(fn, ctx, row->name, row->degraded ? VERDICT_WARN : VERDICT_OK, "", "%s%s%s", row->value, row->effect[0] ? ": " : "", row->effect);
    }
    free(all);
}

struct cluster *doctor_cluster(const struct config *c, finding_fn fn, void *ctx)
{
    struct cluster *k = xnew(struct cluster);
    struct err e;

    k->until_ms = clock_mono_ms(&clock_real) + CONNECT_MS;
    k->log.go_on = go_on;
    k->log.ctx = k;
    if (loop_new(&clock_real, &k->loop, &e) || workers_new(WORKERS, &k->workers, &e) || log_side_open(&k->log, c, k->workers, &e)) {
        connect_failed(&e, fn, ctx);
        return cluster_free(k);
    }
    finding_say(fn, ctx, "kafka", VERDICT_OK, "cluster %s at " STR_FMT, bus_facts(k->log.bus)->cluster_id, STR_ARG(c->kafka_bootstrap));
    trips(k, fn, ctx);
    capabilities(k, fn, ctx);
    return k;
}

struct question { struct bus_ask ask; bool done; };

static void answered(struct bus_op *op)
{
    container_of(container_of(op, struct bus_ask, op), struct question, ask)->done = true;
}

enum rc cluster_ask(struct cluster *k, int32_t node, struct bytes frame, struct buf *ret, struct err *e)
{
    struct question q = {.ask = {.op = {.reply_to = loop_mailbox(k->loop), .done = answered}, .frame = frame, .node = node}};

    bus_ask(k->log.bus, &q.ask);
    while (!q.done) loop_turn(k->loop, TURN_MS);
    *ret = buf_take(&q.ask.answer);
    *e = q.ask.op.err;
    bus_ask_fini(&q.ask);
    return e->rc;
}

struct cluster *cluster_free(struct cluster *k)
{
    log_side_close(&k->log);
    workers_free(k->workers);
    loop_free(k->loop);
    free(k);
    return NULL;
}
