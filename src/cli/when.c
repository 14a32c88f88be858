/* cli/when.c - see when.h. SPDX-License-Identifier: Apache-2.0 */
#include "cli/when.h"
#include <stdio.h>
#include <time.h>

static bool ago(struct str s, int64_t now_ms, int64_t *ret)
{
    static const struct { char unit; int64_t ms; } units[] = {{'s', 1000}, {'m', 60000}, {'h', 3600000}, {'d', 86400000}};
    int64_t n;

    if (s.n < 3 || s.p[0] != '-') return false;
    for (size_t i = 0; i < countof(units); i++)
        if (s.p[s.n - 1] == units[i].unit && str_to_i64((struct str){s.p + 1, s.n - 2}, &n) && n >= 0 && n <= now_ms / units[i].ms) {
            *ret = now_ms - n * units[i].ms;
            return true;
        }
    return false;
}

/* Digits of a fixed place; -1: not digits. */
static int digits(struct str s, size_t at, size_t n)
{
    int v = 0;

    if (at + n > s.n) return -1;
    for (size_t i = at; i < at + n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') return -1;
        v = v * 10 + s.p[i] - '0';
    }
    return v;
}

static bool in(int v, int low, int high)
{
    return v >= low && v <= high;
}

static bool fraction(struct str s, int64_t *ret_ms)
{
    int64_t unit = 100;

    *ret_ms = 0;
    if (!s.n) return true;
    if (s.p[0] != '.' || s.n < 2) return false;
    for (size_t i = 1; i < s.n; i++, unit /= 10) {
        if (s.p[i] < '0' || s.p[i] > '9') return false;
        *ret_ms += unit * (s.p[i] - '0');
    }
    return true;
}

static bool date(struct str s, int64_t *ret)
{
    struct tm tm = {.tm_year = digits(s, 0, 4) - 1900, .tm_mon = digits(s, 5, 2) - 1, .tm_mday = digits(s, 8, 2)}, back;
    int64_t ms = 0;
    time_t t;

    if (s.n < 10 || s.p[4] != '-' || s.p[7] != '-' || !in(tm.tm_year, 70, 8099) || !in(tm.tm_mon, 0, 11) || !in(tm.tm_mday, 1, 31))
        return false;
    if (s.n > 10) {
        if (s.p[s.n - 1] == 'Z') s.n--;
        tm.tm_hour = digits(s, 11, 2);
        tm.tm_min = digits(s, 14, 2);
        tm.tm_sec = digits(s, 17, 2);
        if (s.n < 19 || (s.p[10] != 'T' && s.p[10] != ' ') || s.p[13] != ':' || s.p[16] != ':') return false;
        if (!in(tm.tm_hour, 0, 23) || !in(tm.tm_min, 0, 59) || !in(tm.tm_sec, 0, 59)) return false;
        if (!fraction((struct str){s.p + 19, s.n - 19}, &ms)) return false;
    }
    back = tm;                                   /* timegm() puts right what is given to it */
    t = timegm(&back);
    if (back.tm_mday != tm.tm_mday || back.tm_mon != tm.tm_mon) return false;    /* the 31st of a month that has none */
    *ret = (int64_t)t * 1000 + ms;
    return true;
}

enum rc when_parse(struct str s, int64_t now_ms, int64_t *ret, struct err *e)
{
    if (str_is(s, "now")) {
        *ret = now_ms;
        return RC_OK;
    }
    if (ago(s, now_ms, ret) || date(s, ret) || (str_to_i64(s, ret) && *ret >= 0)) return RC_OK;
    return err_set(e, RC_INVALID, "\"" STR_FMT "\": a time is wanted, as 2026-11-23T10:00:00Z, 2026-11-23, -15m (s, m, h, d ago), now, "
                   "or milliseconds since 1970", STR_ARG(s));
}

void when_put(int64_t ms, struct buf *b)
{
    time_t s = (time_t)(ms / 1000);
    struct tm tm;
    char text[32];

    gmtime_r(&s, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    buf_printf(b, "%s.%03dZ", text, (int)(ms % 1000));
}
