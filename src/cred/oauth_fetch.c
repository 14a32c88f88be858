/* Gets keys from where they are published. SPDX-License-Identifier: Apache-2.0 */
#include "cred/oauth.h"

#include "net/curl.h"

enum { DEADLINE_MS = 5000, BYTES_MAX = 1 << 20 };

static size_t on_bytes(char *p, size_t size, size_t n, void *ctx)
{
    struct buf *into = ctx;

    if (into->n + size * n > BYTES_MAX) return 0; /* ends the transfer */
    buf_append(into, bytes_of(p, size * n));
    return size * n;
}

static enum rc get(const struct curl_lib *lib, CURL *c, const char *url, struct buf *ret, struct err *e)
{
    CURLcode code;
    long status = 0;

    lib->setopt(c, CURLOPT_URL, url);
    lib->setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    lib->setopt(c, CURLOPT_NOSIGNAL, 1L);
    lib->setopt(c, CURLOPT_TIMEOUT_MS, (long)DEADLINE_MS);
    lib->setopt(c, CURLOPT_WRITEFUNCTION, on_bytes);
    lib->setopt(c, CURLOPT_WRITEDATA, ret);
    code = lib->perform(c);
    if (code) return err_set(e, RC_UNAVAILABLE, "GET %s: %s", url, lib->strerror(code));
    lib->getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200) return err_set(e, RC_UNAVAILABLE, "GET %s: status %ld", url, status);
    return RC_OK;
}

enum rc oauth_fetch(const char *url, struct buf *ret, struct err *e)
{
    const struct curl_lib *lib;
    CURL *c;
    enum rc rc;

    if (curl_load(&lib, e)) return e->rc;
    c = lib->init();
    must(c);
    rc = get(lib, c, url, ret, e);
    lib->cleanup(c);
    return rc;
}
