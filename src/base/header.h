/* base/header.h - a name and a value, as HTTP, gRPC and records carry them. Names are lower case inside the program.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/bytes.h"

struct header { struct str name, value; };

#define HEADER(lit_name, str_value) ((struct header){STR(lit_name), (str_value)})

/* The first or the last of that name; false and an untouched *ret when there is none. */
bool header_first(const struct header *h, size_t n, struct str name, struct str *ret);
bool header_last(const struct header *h, size_t n, struct str name, struct str *ret);
