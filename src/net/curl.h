/* net/curl.h - libcurl, loaded with the first request that needs it: a process that makes none never pays for it.
 * The functions are those of its easy interface. They block: on a worker, or in a command.
 * Used by: bus/registry.c, cli/http.c.     SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/err.h"
#include <curl/curl.h>

struct curl_lib {
    CURL *(*init)(void);
    CURLcode (*setopt)(CURL *c, CURLoption option, ...);
    CURLcode (*perform)(CURL *c);
    CURLcode (*getinfo)(CURL *c, CURLINFO info, ...);
    const char *(*strerror)(CURLcode code);
    void (*reset)(CURL *c);
    void (*cleanup)(CURL *c);
    struct curl_slist *(*slist_append)(struct curl_slist *list, const char *text);
    void (*slist_free)(struct curl_slist *list);
};

/* RC_UNSUPPORTED: libcurl is not installed. From any thread. */
enum rc curl_load(const struct curl_lib **ret, struct err *e) MUST_USE;
