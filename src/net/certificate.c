/* SPDX-License-Identifier: Apache-2.0 */
#include "net/certificate.h"
#include <time.h>

void certificate_name_put(const X509_NAME *name, struct buf *ret)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text;
    long n;

    must(bio);
    X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253);
    n = BIO_get_mem_data(bio, &text);
    if (n > 0) buf_append(ret, bytes_of(text, (size_t)n));
    BIO_free(bio);
}

void certificate_date_put(const ASN1_TIME *t, struct buf *ret)
{
    struct tm tm;
    char line[40] = "?";

    if (ASN1_TIME_to_tm(t, &tm)) strftime(line, sizeof line, "%Y-%m-%d", &tm);
    buf_append_str(ret, str_of(line));
}
