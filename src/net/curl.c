/* SPDX-License-Identifier: Apache-2.0 */
#include "net/curl.h"
#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct curl_lib lib;
static struct err why;

static bool symbol(void *library, const char *name, void *into)
{
    void *p = dlsym(library, name);

    memcpy(into, &p, sizeof p);
    return p != NULL;
}

static void load(void)
{
    void *library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);

    if (!library)
        err_set(&why, RC_UNSUPPORTED, "libcurl is not installed (apt-get install libcurl4): %s", dlerror());
    else if (!symbol(library, "curl_easy_setopt", &lib.setopt) || !symbol(library, "curl_easy_perform", &lib.perform) ||
             !symbol(library, "curl_easy_getinfo", &lib.getinfo) || !symbol(library, "curl_easy_strerror", &lib.strerror) ||
             !symbol(library, "curl_easy_reset", &lib.reset) || !symbol(library, "curl_easy_cleanup", &lib.cleanup) ||
             !symbol(library, "curl_slist_append", &lib.slist_append) ||
             !symbol(library, "curl_slist_free_all", &lib.slist_free) || !symbol(library, "curl_easy_init", &lib.init))
        err_set(&why, RC_UNSUPPORTED, "libcurl lacks a function: %s", dlerror());
}

enum rc curl_load(const struct curl_lib **ret, struct err *e)
{
    pthread_once(&once, load);
    if (why.rc) {
        *e = why;
        return e->rc;
    }
    *ret = &lib;
    return RC_OK;
}
