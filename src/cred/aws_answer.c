/* STS is asked for JSON and may answer in XML all the same (a proxy, a stand-in of another maker). Its XML is flat: the text between
 * <Name> and the next </Name>, with the five entities that XML has. SPDX-License-Identifier: Apache-2.0 */
#include "cred/aws_core.h"
#include "cred/http.h"
#include "cred/wipe.h"
#include <stdio.h>
#include <time.h>

enum { DEPTH_MAX = 4 };

bool aws_time_of(struct str iso, int64_t *ret_ms)
{
    char text[40];
    struct tm tm = {0};
    const char *end;

    if (iso.n >= sizeof text) return false;
    snprintf(text, sizeof text, STR_FMT, STR_ARG(iso));
    end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (!end) return false;
    if (*end == '.') end += 1 + strspn(end + 1, "0123456789");
    if (strcmp(end, "Z") && strcmp(end, "+00:00")) return false;
    *ret_ms = (int64_t)timegm(&tm) * 1000;
    return true;
}

/* ---- JSON ---- */

/* The object that has the credentials: the top, or one inside. */
static const json_t *with_keys(const json_t *top, unsigned depth)
{
    const char *key;
    json_t *value;

    if (!json_is_object(top) || json_object_get(top, "AccessKeyId")) return json_is_object(top) ? top : NULL;
    json_object_foreach((json_t *)(uintptr_t)top, key, value) {
        const json_t *found = depth < DEPTH_MAX ? with_keys(value, depth + 1) : NULL;

        (void)key;
        if (found && json_object_get(found, "AccessKeyId")) return found;
    }
    return NULL;
}

static struct str json_text(const json_t *o, const char *name)
{
    const json_t *v = json_object_get(o, name);

    return json_is_string(v) ? (struct str){json_string_value(v), json_string_length(v)} : STR("");
}

/* Seconds since 1970 as a number, or a text. Absent: never. */
static bool json_expiry(const json_t *o, int64_t *ret_ms)
{
    const json_t *v = json_object_get(o, "Expiration");
    double s = json_number_value(v);

    *ret_ms = 0;
    if (!v || json_is_null(v)) return true;
    if (json_is_string(v)) return aws_time_of(json_text(o, "Expiration"), ret_ms);
    if (!json_is_number(v) || !(s > 0 && s < 1e11)) return false;
    *ret_ms = (int64_t)(s * 1000);
    return true;
}

static enum rc json_keys(const json_t *top, struct aws_keys *ret, struct err *e)
{
    const json_t *o = with_keys(top, 0);
    struct str token = json_text(o, "Token");

    if (!token.n) token = json_text(o, "SessionToken");
    if (!json_expiry(o, &ret->expires_ms)) return err_set(e, RC_INVALID, "its Expiration is no time");
    return aws_keys_set(ret, json_text(o, "AccessKeyId"), json_text(o, "SecretAccessKey"), token, e);
}

/* ---- XML ---- */

static bool xml_find(struct str text, const char *name, struct str *ret)
{
    char open[40], close[40];
    const char *from, *to;

    snprintf(open, sizeof open, "<%s>", name);
    snprintf(close, sizeof close, "</%s>", name);
    from = text.n ? memmem(text.p, text.n, open, strlen(open)) : NULL;
    if (!from) return false;
    from += strlen(open);
    to = memmem(from, (size_t)(text.p + text.n - from), close, strlen(close));
    if (!to) return false;
    *ret = (struct str){from, (size_t)(to - from)};
    return true;
}

static void xml_text(struct str raw, struct buf *ret)
{
    static const struct { struct str name; char c; } entities[] = {
        {{"&amp;", 5}, '&'}, {{"&lt;", 4}, '<'}, {{"&gt;", 4}, '>'}, {{"&quot;", 6}, '"'}, {{"&apos;", 6}, '\''}};

    raw = str_trim(raw);
    buf_reserve(ret, raw.n + 1);
    for (size_t i = 0, step; i < raw.n; i += step) {
        char c = raw.p[i];

        step = 1;
        for (size_t k = 0; c == '&' && k < countof(entities); k++) {
            if (!str_starts((struct str){raw.p + i, raw.n - i}, entities[k].name)) continue;
            c = entities[k].c;
            step = entities[k].name.n;
            break;
        }
        buf_append_byte(ret, (uint8_t)c);
    }
}

static enum rc xml_keys(struct str text, struct aws_keys *ret, struct err *e)
{
    AUTO(buf_wipe) struct buf id = {0}, secret = {0}, session = {0};
    struct str part;

    if (!xml_find(text, "Credentials", &text)) return err_set(e, RC_INVALID, "there are no credentials in it");
    if (xml_find(text, "AccessKeyId", &part)) xml_text(part, &id);
    if (xml_find(text, "SecretAccessKey", &part)) xml_text(part, &secret);
    if (xml_find(text, "SessionToken", &part)) xml_text(part, &session);
    if (xml_find(text, "Expiration", &part) && !aws_time_of(str_trim(part), &ret->expires_ms))
        return err_set(e, RC_INVALID, "its Expiration is no time");
    return aws_keys_set(ret, buf_str(&id), buf_str(&secret), buf_str(&session), e);
}

/* ---- either ---- */

enum rc aws_answer_keys(struct bytes body, struct aws_keys *ret, struct err *e)
{
    struct str text = str_trim(bytes_str(body));
    struct aws_keys k = {0};
    enum rc rc;

    if (text.n && text.p[0] == '<') {
        rc = xml_keys(text, &k, e);
    } else {
        json_t *top = wipe_json_load(body);

        rc = top ? json_keys(top, &k, e) : err_set(e, RC_INVALID, "it is no JSON");
        json_decref(top);
    }
    if (rc) {
        aws_keys_fini(&k);
        return err_in(e, "the answer cannot be used");
    }
    *ret = k;
    return RC_OK;
}

static void say(const char *code, const char *message, char ret[256])
{
    char quoted[2][160];

    cred_quote(code, quoted[0], 80);
    cred_quote(message, quoted[1], sizeof quoted[1]);
    snprintf(ret, 256, "%s%s%s", quoted[0], *quoted[0] && *quoted[1] ? ": " : "", quoted[1]);
}

static void json_why(const json_t *top, char ret[256])
{
    const json_t *error = json_object_get(top, "Error");
    const json_t *at = json_is_object(error) ? error : top;
    struct str code = json_text(at, "Code"), message = json_text(at, "Message");

    if (!code.n) code = json_text(at, "code");
    if (!message.n) message = json_text(at, "message");
    say(code.p, message.p, ret);
}

static void first_line(struct str text, char ret[256])
{
    struct str rest;
    char line[200];

    str_cut(text, '\n', &text, &rest);
    snprintf(line, sizeof line, STR_FMT, STR_ARG(text));
    cred_quote(line, ret, sizeof line);
}

void aws_answer_why(struct bytes body, char ret[256])
{
    struct str text = str_trim(bytes_str(body)), part;
    json_t *top;

    ret[0] = 0;
    if (text.n && text.p[0] == '<') {
        AUTO(buf_fini) struct buf code = {0}, message = {0};

        if (xml_find(text, "Code", &part)) xml_text(part, &code);
        if (xml_find(text, "Message", &part)) xml_text(part, &message);
        say(buf_cstr(&code), buf_cstr(&message), ret);
        return;
    }
    top = wipe_json_load(body);
    if (top)
        json_why(top, ret);
    else
        first_line(text, ret);
    json_decref(top);
}
