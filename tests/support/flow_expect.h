/* tests/support/flow_expect.h - what cmocka tests over flow_fixture.h ask again and again.     SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "support/flow_fixture.h"
#include "test.h"

/* The answer, as asked_text() gives it; frees the question. */
static inline void expect_answered(struct asked *a, const char *want)
{
    assert_string_equal(asked_text(a), want);
    asked_free(a);
}

static inline void expect(struct fixture *x, struct asked *a, const char *want)
{
    fixture_settle(x);
    expect_answered(a, want);
}
