/* oip/json_data.h - inside oip/: the numbers and strings of one tensor. SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "oip/datatype.h"
#include "oip/json_read.h"

struct json_data {
    enum datatype type;
    bool          base64;            /* BYTES: the strings are base64 */
    bool          null_is_nan;
    uint64_t      expected;          /* elements, as far as known: only a hint for memory */
};

/* Reads a flat or nested array, appends its elements as raw data and counts them. */
bool json_data_read(struct json_reader *j, const struct json_data *what, struct buf *raw, uint64_t *ret_count);
