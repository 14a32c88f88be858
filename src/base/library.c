/* SPDX-License-Identifier: Apache-2.0 */
#include "base/library.h"
#include <dlfcn.h>
#include <string.h>

static enum rc load(struct library *l, struct err *e)
{
    void *opened = dlopen(l->file, RTLD_NOW | RTLD_LOCAL);

    if (!opened) return err_set(e, RC_UNSUPPORTED, "%s is not installed (Debian: apt-get install %s): %s", l->file, l->package, dlerror());
    for (size_t i = 0; i < l->functions_n; i++) {
        void *found = dlsym(opened, l->functions[i].name);

        if (!found) {
            dlclose(opened);
            return err_set(e, RC_UNSUPPORTED, "%s is too old or too new: it has no %s", l->file, l->functions[i].name);
        }
        memcpy((char *)l->table + l->functions[i].at, &found, sizeof found);
    }
    return RC_OK;
}

enum rc library_get(struct library *l, struct err *e)
{
    enum rc rc = RC_OK;

    if (LIKELY(atomic_load(&l->ready))) return RC_OK;
    pthread_mutex_lock(&l->lock);
    if (!atomic_load(&l->ready) && !(rc = load(l, e))) atomic_store(&l->ready, true);
    pthread_mutex_unlock(&l->lock);
    return rc;
}
