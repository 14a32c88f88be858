/* tests/unit/kafka/old_messages.h - message sets of formats 0 and 1, for both directions. SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Computed elsewhere (Python: struct, zlib.crc32, gzip). Format 0: k=v, then a null key and a null value. */
static const char format_0[] =
    "0000000000000000000000101fecd70a0000000000016b000000017600000000000000010000000ea7ec68030000ffffffff"
    "ffffffff";
/* Format 1 at 1700000000000 and 5 ms later: k=v, and a null key with an empty value. */
static const char format_1[] =
    "00000000000000000000001839268c3301000000018bcfe56800000000016b000000017600000000000000010000001634cd"
    "6bb701000000018bcfe56805ffffffff00000000";
