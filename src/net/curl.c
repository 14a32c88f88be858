/* SPDX-License-Identifier: Apache-2.0 */
#include "net/curl.h"
#include "base/library.h"

static struct curl_lib lib;
static const struct library_function functions[] = {
    {"curl_easy_init", offsetof(struct curl_lib, init)},
    {"curl_easy_setopt", offsetof(struct curl_lib, setopt)},
    {"curl_easy_perform", offsetof(struct curl_lib, perform)},
    {"curl_easy_getinfo", offsetof(struct curl_lib, getinfo)},
    {"curl_easy_strerror", offsetof(struct curl_lib, strerror)},
    {"curl_easy_reset", offsetof(struct curl_lib, reset)},
    {"curl_easy_cleanup", offsetof(struct curl_lib, cleanup)},
    {"curl_slist_append", offsetof(struct curl_lib, slist_append)},
    {"curl_slist_free_all", offsetof(struct curl_lib, slist_free)},
};
static struct library library = LIBRARY("libcurl.so.4", "libcurl4", functions, &lib);

enum rc curl_load(const struct curl_lib **ret, struct err *e)
{
    if (library_get(&library, e)) return e->rc;
    *ret = &lib;
    return RC_OK;
}
