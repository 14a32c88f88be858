/* tests/test.h - what every cmocka test includes, in the order cmocka wants it. SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/bytes.h"

#define assert_str(s, literal) do { struct str s_ = (s); assert_int_equal(s_.n, strlen(literal)); assert_memory_equal(s_.p, literal, s_.n); } while (0)
