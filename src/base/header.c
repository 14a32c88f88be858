/* SPDX-License-Identifier: Apache-2.0 */
#include "base/header.h"

bool header_first(const struct header *h, size_t n, struct str name, struct str *ret)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(h[i].name, name)) {
            *ret = h[i].value;
            return true;
        }
    return false;
}

bool header_last(const struct header *h, size_t n, struct str name, struct str *ret)
{
    for (size_t i = n; i-- > 0;)
        if (str_eq(h[i].name, name)) {
            *ret = h[i].value;
            return true;
        }
    return false;
}
