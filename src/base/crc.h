/* base/crc.h - CRC-32C (Castagnoli, reflected, init and final xor ffffffff), as Kafka and our own files use it.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/bytes.h"

uint32_t crc32c(struct bytes b);                           /* "123456789" gives e3069283 */
uint32_t crc32c_more(uint32_t crc, struct bytes b);        /* continues: crc32c_more(crc32c(a), b) == crc32c(ab) */
