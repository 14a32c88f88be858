/* ISA-L's crc32_iscsi takes and gives the register before the final xor.
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/crc.h"
#include <isa-l/crc.h>

uint32_t crc32c_more(uint32_t crc, struct bytes b)
{
    uint32_t reg = ~crc;

    while (b.n) { /* crc32_iscsi counts in int */
        size_t n = MIN(b.n, (size_t)1 << 30);

        reg = crc32_iscsi((unsigned char *)(uintptr_t)b.p, (int)n, reg);
        b.p += n;
        b.n -= n;
    }
    return ~reg;
}

uint32_t crc32c(struct bytes b)
{
    return crc32c_more(0, b);
}
