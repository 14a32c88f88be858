/* Design note: a line is built in a stack buffer and leaves in one write(2), so lines of threads do
 * not mix. A line that does not fit is cut, never split. Levels are set before threads start.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { LINE_BYTES = 2048, LINES_PER_SECOND = 10, MODULES_MAX = 32 };

static struct {
    enum diag_level level;
    bool json, silent;
    struct {
        char name[24];
        enum diag_level level;
    } modules[MODULES_MAX];
    size_t modules_n;
} settings = {.level = DIAG_INFO};

static const char *const level_names[] = {"error", "warn", "info", "debug"};

static bool level_of(struct str s, enum diag_level *ret)
{
    for (size_t i = 0; i < countof(level_names); i++)
        if (str_is(s, level_names[i])) {
            *ret = (enum diag_level)i;
            return true;
        }
    return false;
}

bool diag_set_levels(struct str spec)
{
    __typeof__(settings) next = settings;
    struct str part, rest = spec, name, level;

    next.modules_n = 0;
    do {
        bool more = str_cut(rest, ',', &part, &rest);

        if (!str_cut(part, '=', &name, &level)) {
            if (!level_of(part, &next.level)) return false;
        } else {
            if (next.modules_n == MODULES_MAX || name.n >= sizeof next.modules[0].name)
                return false;
            memcpy(next.modules[next.modules_n].name, name.p, name.n);
            next.modules[next.modules_n].name[name.n] = 0;
            if (!level_of(level, &next.modules[next.modules_n++].level)) return false;
        }
        if (!more) break;
    } while (true);
    settings = next;
    return true;
}

void diag_set_json(bool json)
{
    settings.json = json;
}

void diag_silence(bool on)
{
    settings.silent = on;
}

bool diag_wants(enum diag_level level, const char *event)
{
    if (settings.silent) return false;
    for (size_t i = 0; i < settings.modules_n; i++) {
        size_t n = strlen(settings.modules[i].name);

        if (strncmp(event, settings.modules[i].name, n) == 0 && (event[n] == '.' || !event[n]))
            return level <= settings.modules[i].level;
    }
    return level <= settings.level;
}

struct line {
    char p[LINE_BYTES];
    size_t n;
};

static void put(struct line *l, const char *fmt, ...) PRINTF(2, 3);
static void put(struct line *l, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(l->p + l->n, sizeof l->p - 1 - l->n, fmt, ap);
    va_end(ap);
    if (n > 0) l->n = MIN(l->n + (size_t)n, sizeof l->p - 2);
}

static void put_quoted(struct line *l, struct str s)
{
    put(l, "\"");
    for (size_t i = 0; i < s.n && l->n < sizeof l->p - 16; i++) {
        unsigned char c = (unsigned char)s.p[i];

        if (c == '"' || c == '\\')
            put(l, "\\%c", c);
        else if (c == '\n')
            put(l, "\\n");
        else if (c < 0x20 || c == 0x7f)
            put(l, "\\u%04x", c);
        else
            put(l, "%c", c);
    }
    put(l, "\"");
}

static bool plain(struct str s)
{
    if (!s.n) return false;
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= ' ' || s.p[i] == '"' || s.p[i] == '=' || s.p[i] == '\\' ||
            (unsigned char)s.p[i] >= 0x7f)
            return false;
    return true;
}

static void put_kv(struct line *l, const struct diag_kv *kv)
{
    if (settings.json)
        put(l, ",\"%s\":", kv->key);
    else
        put(l, " %s=", kv->key);
    switch (kv->kind) {
    case DIAG_KV_STR:
        if (!settings.json && plain(kv->s))
            put(l, STR_FMT, STR_ARG(kv->s));
        else
            put_quoted(l, kv->s);
        break;
    case DIAG_KV_I64: put(l, "%" PRId64, kv->i); break;
    case DIAG_KV_U64: put(l, "%" PRIu64, kv->u); break;
    }
}

/* True when this call site has spoken often enough this second; *ret_left_out is what it kept to
 * itself before. */
static bool site_is_full(struct diag_site *site, uint64_t second, unsigned *ret_left_out)
{
    *ret_left_out = 0;
    if (atomic_exchange(&site->second, second) != second) {
        atomic_store(&site->count, 0);
        *ret_left_out = atomic_exchange(&site->left_out, 0);
    }
    if (atomic_fetch_add(&site->count, 1) < LINES_PER_SECOND) return false;
    atomic_fetch_add(&site->left_out, 1);
    return true;
}

void diag_write(struct diag_site *site, enum diag_level level, const char *event,
                const struct diag_kv *kv, size_t n)
{
    struct line l = {.n = 0};
    struct timespec ts;
    struct tm tm;
    char when[32];
    unsigned left_out;

    clock_gettime(CLOCK_REALTIME, &ts);
    if (site_is_full(site, (uint64_t)ts.tv_sec, &left_out)) return;
    gmtime_r(&ts.tv_sec, &tm);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &tm);
    if (settings.json)
        put(&l, "{\"ts\":\"%s.%03ldZ\",\"level\":\"%s\",\"event\":\"%s\"", when,
            ts.tv_nsec / 1000000, level_names[level], event);
    else
        put(&l, "ts=%s.%03ldZ level=%s event=%s", when, ts.tv_nsec / 1000000, level_names[level],
            event);
    for (size_t i = 0; i < n; i++)
        put_kv(&l, &kv[i]);
    if (left_out) put_kv(&l, &KV_U64("left_out", left_out));
    if (settings.json) put(&l, "}");
    l.p[l.n++] = '\n';
    if (write(STDERR_FILENO, l.p, l.n) < 0) return; /* nowhere left to complain */
}
