/* SPDX-License-Identifier: Apache-2.0 */
#include "kafka/lz4_header.h"
#include "base/macros.h"

enum { AT_FLAGS = 4, HAS_DICTIONARY = 1, HAS_CONTENT_SIZE = 8, HEADER_MIN = 7, LANE_BYTES = 16 };

static const uint32_t frame_magic = 0x184d2204;

static uint32_t turn(uint32_t v, unsigned by) { return v << by | v >> (32 - by); }

/* XXH32 with seed 0, of fewer bytes than it takes four lanes for: liblz4 does not give its own away. */
static uint32_t xxh32_short(const uint8_t *p, size_t n)
{
    const uint32_t two = 2246822519u, three = 3266489917u, four = 668265263u, five = 374761393u;
    uint32_t       h = five + (uint32_t)n;

    must(n < LANE_BYTES);
    for (; n >= 4; p += 4, n -= 4) h = turn(h + load_le32(p) * three, 17) * four;
    for (; n; p++, n--) h = turn(h + *p * five, 11) * 2654435761u;
    h = (h ^ h >> 15) * two;
    h = (h ^ h >> 13) * three;
    return h ^ h >> 16;
}

size_t lz4_header_size(struct bytes frame)
{
    size_t n = HEADER_MIN;

    if (frame.n < HEADER_MIN || load_le32(frame.p) != frame_magic) return 0;
    if (frame.p[AT_FLAGS] & HAS_CONTENT_SIZE) n += 8;
    if (frame.p[AT_FLAGS] & HAS_DICTIONARY) n += 4;
    return n <= frame.n ? n : 0;
}

void lz4_header_mend(uint8_t *header, size_t n) { header[n - 1] = (uint8_t)(xxh32_short(header + AT_FLAGS, n - 1 - AT_FLAGS) >> 8); }

void lz4_header_spoil(uint8_t *header, size_t n) { header[n - 1] = (uint8_t)(xxh32_short(header, n - 1) >> 8); }
