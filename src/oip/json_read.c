/* SPDX-License-Identifier: Apache-2.0 */
#include "oip/json_read.h"
#include "oip/json.h"
#include "oip/number.h"
#include "oip/pb.h"
#include <stdio.h>

bool json_read_fail(struct json_reader *j, enum rc rc, const char *fmt, ...)
{
    char text[256];
    va_list ap;

    if (j->failed) return false;
    j->failed = true;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    err_set(j->e, rc, "%s (at byte %zu)", text, (size_t)(j->p - j->start));
    return false;
}

static bool unexpected(struct json_reader *j, const char *wanted)
{
    if (j->p == j->end)
        return json_read_fail(j, RC_INVALID, "the JSON ends where %s should be", wanted);
    if (*j->p > ' ' && *j->p < 127)
        return json_read_fail(j, RC_INVALID, "'%c' found where %s should be", *j->p, wanted);
    return json_read_fail(j, RC_INVALID, "byte 0x%02x found where %s should be", (uint8_t)*j->p,
                          wanted);
}

bool json_read_want(struct json_reader *j, char c)
{
    const char quoted[] = {'\'', c, '\'', 0};

    return json_read_take(j, c) || (!j->failed && unexpected(j, quoted));
}

bool json_read_word(struct json_reader *j, const char *word)
{
    size_t n = strlen(word);

    if ((size_t)(j->end - j->p) < n || memcmp(j->p, word, n) != 0) return false;
    j->p += n;
    return true;
}

/* ---- strings ---- */

/* Moves over bytes that stand for themselves; *high gathers whether some were not ASCII. */
static const char *plain_run(const char *p, const char *end, bool *high)
{
    const uint64_t ones = 0x0101010101010101, tops = 0x8080808080808080;

    while (p < end) {
        if (end - p >= 8) {
            uint64_t v = load_le64((const uint8_t *)p), quote = v ^ ones * '"',
                     slash = v ^ ones * '\\';
            uint64_t stop =
                (((quote - ones) & ~quote) | ((slash - ones) & ~slash) | ((v - ones * 0x20) & ~v)) &
                tops;

            if (!stop) {
                *high = *high || (v & tops);
                p += 8;
                continue;
            }
        }
        if (*p == '"' || *p == '\\' || (uint8_t)*p < 0x20) return p;
        *high = *high || (uint8_t)*p > 127;
        p++;
    }
    return p;
}

static bool hex4(struct json_reader *j, uint32_t *ret)
{
    *ret = 0;
    for (int i = 0; i < 4; i++, j->p++) {
        char c = j->p < j->end ? *j->p : 0;

        if (c >= '0' && c <= '9')
            *ret = *ret << 4 | (uint32_t)(c - '0');
        else if ((c | 32) >= 'a' && (c | 32) <= 'f')
            *ret = *ret << 4 | (uint32_t)((c | 32) - 'a' + 10);
        else
            return unexpected(j, "a hexadecimal digit");
    }
    return true;
}

static size_t utf8_put(uint32_t c, char *to)
{
    if (c < 0x80) return to[0] = (char)c, 1;
    if (c < 0x800) return to[0] = (char)(0xc0 | c >> 6), to[1] = (char)(0x80 | (c & 63)), 2;
    if (c < 0x10000)
        return to[0] = (char)(0xe0 | c >> 12), to[1] = (char)(0x80 | (c >> 6 & 63)),
               to[2] = (char)(0x80 | (c & 63)), 3;
    to[0] = (char)(0xf0 | c >> 18);
    to[1] = (char)(0x80 | (c >> 12 & 63));
    to[2] = (char)(0x80 | (c >> 6 & 63));
    to[3] = (char)(0x80 | (c & 63));
    return 4;
}

/* The backslash is taken. Writes what the escape stands for: never more bytes than the escape has.
 */
static size_t escape(struct json_reader *j, char *to)
{
    static const char from[] = "\"\\/bfnrt", plain[] = "\"\\/\b\f\n\r\t";
    const char *at = j->p < j->end && *j->p ? strchr(from, *j->p) : NULL;
    uint32_t c, low;

    if (at) return j->p++, *to = plain[at - from], 1;
    if (j->p == j->end || *j->p != 'u') return unexpected(j, "an escape");
    j->p++;
    if (!hex4(j, &c)) return 0;
    if (c >= 0xdc00 && c < 0xe000) return json_read_fail(j, RC_INVALID, "half of a surrogate pair");
    if (c >= 0xd800 && c < 0xdc00) {
        if (!json_read_word(j, "\\u"))
            return json_read_fail(j, RC_INVALID, "half of a surrogate pair");
        if (!hex4(j, &low)) return 0;
        if (low < 0xdc00 || low > 0xdfff)
            return json_read_fail(j, RC_INVALID, "half of a surrogate pair");
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    }
    return utf8_put(c, to);
}

/* Finds the closing quote. *ret is the text between the quotes, j->p behind them. */
static bool string_span(struct json_reader *j, struct str *ret, bool *ret_escapes)
{
    const char *start;
    bool high = false;

    *ret_escapes = false;
    if (json_read_peek(j) != '"') return unexpected(j, "a string");
    start = ++j->p;
    for (;;) {
        j->p = plain_run(j->p, j->end, &high);
        if (j->p == j->end) return json_read_fail(j, RC_INVALID, "the JSON ends inside a string");
        if (*j->p == '"') break;
        if (*j->p != '\\')
            return json_read_fail(j, RC_INVALID, "control character 0x%02x in a string",
                                  (uint8_t)*j->p);
        *ret_escapes = true;
        j->p++;
        if (j->p < j->end) j->p++;
    }
    *ret = (struct str){start, (size_t)(j->p - start)};
    if (high && !utf8_valid(*ret))
        return json_read_fail(j, RC_INVALID, "a string is not valid UTF-8");
    j->p++;
    return true;
}

/* Writes the string of the span without its escapes to `to`, which has room for the span. */
static bool unescape(struct json_reader *j, struct str span, char *to, size_t *ret_n)
{
    struct json_reader in = *j;
    char *at = to;

    in.p = span.p;
    in.end = span.p + span.n;
    while (in.p < in.end) {
        const char *back = memchr(in.p, '\\', (size_t)(in.end - in.p));
        size_t n = (size_t)((back ? back : in.end) - in.p);

        memcpy(at, in.p, n);
        at += n;
        in.p += n;
        if (!back) break;
        in.p++;
        at += escape(&in, at);
        if (in.failed) return j->failed = true, false;
    }
    *ret_n = (size_t)(at - to);
    return true;
}

bool json_read_string(struct json_reader *j, struct str *ret)
{
    struct str span;
    bool escapes;
    char *to;

    if (j->failed || !string_span(j, &span, &escapes)) return false;
    *ret = span;
    if (!escapes) return true;
    if (!(to = arena_alloc(j->arena, span.n)))
        return json_read_fail(j, RC_TOO_LARGE, "strings above the memory limit of a request");
    ret->p = to;
    return unescape(j, span, to, &ret->n);
}

bool json_read_string_into(struct json_reader *j, struct buf *b)
{
    struct str span;
    bool escapes;
    size_t n;
    uint8_t *to;

    if (j->failed || !string_span(j, &span, &escapes)) return false;
    if (!escapes) {
        buf_append_str(b, span);
        return true;
    }
    to = buf_grow(b, span.n);
    b->n -= span.n;
    if (!unescape(j, span, (char *)to, &n)) return false;
    b->n += n;
    return true;
}

/* ---- structure ---- */

static bool open_next(struct json_reader *j, bool *first, char opening, char closing,
                      const char *what)
{
    if (j->failed) return false;
    if (*first) {
        *first = false;
        if (!json_read_take(j, opening)) return unexpected(j, what);
        if (++j->depth > JSON_DEPTH_MAX)
            return json_read_fail(j, RC_INVALID, "nested deeper than %d", JSON_DEPTH_MAX);
        if (!json_read_take(j, closing)) return true;
        j->depth--;
        return false;
    }
    if (json_read_take(j, ',')) return true;
    if (!json_read_take(j, closing))
        return unexpected(j, closing == ']' ? "',' or ']'" : "',' or '}'");
    j->depth--;
    return false;
}

bool json_read_object(struct json_reader *j, bool *first, struct str *ret_key)
{
    return open_next(j, first, '{', '}', "an object") && json_read_string(j, ret_key) &&
           json_read_want(j, ':');
}

bool json_read_array(struct json_reader *j, bool *first)
{
    return open_next(j, first, '[', ']', "an array");
}

static bool skip_string(struct json_reader *j)
{
    struct str span;
    bool escapes;

    return string_span(j, &span, &escapes);
}

static bool skip_scalar(struct json_reader *j)
{
    struct decimal d;
    const char *after;

    if (json_read_word(j, "true") || json_read_word(j, "false") || json_read_word(j, "null"))
        return true;
    if (json_read_word(j, "NaN") || json_read_word(j, "Infinity") || json_read_word(j, "-Infinity"))
        return true;
    after = decimal_read(j->p, j->end, &d);
    if (!after) return unexpected(j, "a value");
    j->p = after;
    return true;
}

bool json_read_skip(struct json_reader *j, struct str *ret_text)
{
    bool first = true;
    const char *start;
    struct str key;
    char c = json_read_peek(j);

    if (j->failed) return false;
    start = j->p;
    if (c == '{') {
        while (json_read_object(j, &first, &key))
            json_read_skip(j, NULL);
    } else if (c == '[') {
        while (json_read_array(j, &first))
            json_read_skip(j, NULL);
    } else if (c == '"') {
        skip_string(j);
    } else {
        skip_scalar(j);
    }
    if (!j->failed && ret_text) *ret_text = (struct str){start, (size_t)(j->p - start)};
    return !j->failed;
}
