/* Which APIs are served, in which versions. Only what works is advertised. SPDX-License-Identifier: Apache-2.0 */
#include "broker/api.h"

static const struct api apis[] = {
    {KAFKA_PRODUCE, 0, 11, API_BORROWS, api_produce},
    {KAFKA_FETCH, 0, 16, 0, api_fetch},
    {KAFKA_LIST_OFFSETS, 0, 8, 0, api_list_offsets},
    {KAFKA_METADATA, 0, 12, 0, api_metadata},
    {KAFKA_API_VERSIONS, 0, 3, 0, api_api_versions},
};

const struct api *api_of(int16_t key)
{
    static int8_t at[API_KEYS];          /* row + 1; 0: not looked up, -1: none */

    if (key < 0 || key >= API_KEYS) return NULL;
    if (!at[key]) {
        at[key] = -1;
        for (size_t i = 0; i < countof(apis); i++)
            if (apis[i].key == key) at[key] = (int8_t)(i + 1);
    }
    return at[key] > 0 ? &apis[at[key] - 1] : NULL;
}

const struct api *api_next(const struct api *a)
{
    if (!a) return apis;
    return a + 1 < apis + countof(apis) ? a + 1 : NULL;
}
