/* oip/number.h - inside oip/: decimal text to numbers. SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/bytes.h"

enum { NUMBER_TEXT_MAX = 4096 };         /* longer ones are refused: nobody writes them by accident */

/* A JSON number taken apart: (-1)^negative * digits * 10^exponent; `cut` when digits holds only the first 19 of more. */
struct decimal {
    uint64_t   digits;
    int64_t    exponent;
    bool       negative, cut;
    struct str text;
};

/* Reads the JSON number at p; NULL if there is none, else where it ends. */
const char *decimal_read(const char *p, const char *end, struct decimal *ret);

/* Correctly rounded; infinity when too large. */
double decimal_fp64(const struct decimal *d);
float  decimal_fp32(const struct decimal *d);
/* The magnitude as an integer; false when it is none (1.5) or above UINT64_MAX. 1.0 and 1e3 are integers. */
bool   decimal_u64(const struct decimal *d, uint64_t *ret);

/* Appends decimal digits at p; returns the end. At most 20 bytes. */
char *u64_text(uint64_t v, char *p);
