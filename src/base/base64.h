/* base/base64.h - RFC 4648 base64 with the standard alphabet and padding. SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/buf.h"

void base64_encode(struct bytes data, struct buf *ret);          /* appends */
bool base64_decode(struct str text, struct buf *ret);            /* appends; false (nothing appended) when it is none */
