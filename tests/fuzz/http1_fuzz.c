/* tests/fuzz/http1_fuzz.c - what a client of the inference port may say in HTTP/1.1 (or anything else). The first byte
 * says where the bytes are cut in two. Nothing may be left behind when it hangs up.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "http_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct http_fuzz f;

    if (!f.loop) http_fuzz_open(&f);
    if (size > 1 && size < 100000) http_fuzz_say(&f, data + 1, size - 1, data[0]);
    return 0;
}
