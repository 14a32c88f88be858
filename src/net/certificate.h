/* net/certificate.h - a certificate in words, for errors and reports.
 * Used by: bus/wire.c, bus/remote_access.c, app/doctor.c, net/tls.c.     SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/buf.h"
#include <openssl/x509.h>

void certificate_name_put(const X509_NAME *name, struct buf *ret);       /* "CN=alice,OU=Tests" (RFC 2253), in ASCII. Appends */
void certificate_date_put(const ASN1_TIME *t, struct buf *ret);          /* "2026-11-23", of UTC. Appends */
