/* SPDX-License-Identifier: Apache-2.0 */
#include "cred/aws_core.h"
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <time.h>

enum { HASH = 32 };

struct aws_stamp aws_stamp_of(int64_t now_s)
{
    struct aws_stamp ret;
    time_t t = now_s;
    struct tm tm;

    must(gmtime_r(&t, &tm));
    must(strftime(ret.date, sizeof ret.date, "%Y%m%d", &tm) == 8);
    must(strftime(ret.time, sizeof ret.time, "%Y%m%dT%H%M%SZ", &tm) == 16);
    return ret;
}

static void hex(const uint8_t hash[HASH], char ret[65])
{
    for (size_t i = 0; i < HASH; i++) {
        ret[2 * i] = "0123456789abcdef"[hash[i] >> 4];
        ret[2 * i + 1] = "0123456789abcdef"[hash[i] & 15];
    }
    ret[64] = 0;
}

void aws_sha256(struct bytes b, char ret[65])
{
    uint8_t hash[HASH];

    must(EVP_Digest(b.p ? b.p : (const uint8_t *)"", b.n, hash, NULL, EVP_sha256(), NULL) == 1);
    hex(hash, ret);
}

static void hmac(struct bytes key, struct str text, uint8_t ret[HASH])
{
    uint8_t hash[HASH];

    must(HMAC(EVP_sha256(), key.p, (int)key.n, (const uint8_t *)text.p, text.n, hash, NULL));
    memcpy(ret, hash, HASH);
    explicit_bzero(hash, sizeof hash);
}

void aws_sign(const struct aws_scope *s, struct str secret, struct str canonical, char ret[65])
{
    AUTO(buf_wipe) struct buf first = {0};
    AUTO(buf_fini) struct buf text = {0};
    uint8_t key[HASH];
    char hash[65];

    buf_reserve(&first, secret.n + 8);
    buf_append_str(&first, STR("AWS4"));
    buf_append_str(&first, secret);
    hmac(buf_view(&first), str_of(s->at.date), key);
    hmac(bytes_of(key, HASH), s->region, key);
    hmac(bytes_of(key, HASH), s->service, key);
    hmac(bytes_of(key, HASH), STR("aws4_request"), key);
    aws_sha256(str_bytes(canonical), hash);
    buf_printf(&text, "AWS4-HMAC-SHA256\n%s\n%s/" STR_FMT "/" STR_FMT "/aws4_request\n%s", s->at.time, s->at.date, STR_ARG(s->region), STR_ARG(s->service), hash);
    hmac(bytes_of(key, HASH), buf_str(&text), key);
    hex(key, ret);
    explicit_bzero(key, sizeof key);
}
