/* jansson copies what it reads, here secrets and tokens, and frees the copies as they are. So its memory is cleared when it is
 * freed: everywhere in the process, since it has one allocator. It is nowhere on a path where that would be felt.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cred/wipe.h"
#include <jansson.h>
#include <malloc.h>
#include <string.h>

static void wipe_free(void *p)
{
    if (!p) return;
    explicit_bzero(p, malloc_usable_size(p));
    free(p);
}

/* Before any thread. */
__attribute__((constructor)) static void wipe_json(void)
{
    json_set_alloc_funcs(malloc, wipe_free);
}

json_t *wipe_json_load(struct bytes text)
{
    return json_loadb((const char *)text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
}
