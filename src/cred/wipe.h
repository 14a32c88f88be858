/* cred/wipe.h - JSON with secrets in it, which leaves nothing behind. Used by: the files of cred. SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/bytes.h"
#include <jansson.h>

json_t *wipe_json_load(struct bytes text);       /* NULL: it is none. json_decref() clears it */
