/* A regular expression of a subscription, and behind the first newline the names it is asked about, a line each. SPDX-License-Identifier: Apache-2.0 */
#include "broker/pattern.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str rest = bytes_str(bytes_of(data, size)), text, name;
    struct pattern *p;
    struct err e;

    (void)str_cut(rest, '\n', &text, &rest);
    if (pattern_new(text, &p, &e)) {
        must(e.rc == RC_INVALID && e.text[0]);
        return 0;
    }
    while (rest.n) {
        (void)str_cut(rest, '\n', &name, &rest);
        if (name.n <= 249) (void)pattern_matches(p, name);
    }
    pattern_free(p);
    return 0;
}
