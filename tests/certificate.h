/* tests/certificate.h - a certificate that signs itself, good for an hour. SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "test.h"
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>

static inline void certificate_write(const char *crt_path, const char *key_path, const char *name)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *crt = X509_new();
    FILE *f;

    ASN1_INTEGER_set(X509_get_serialNumber(crt), 1);
    X509_gmtime_adj(X509_getm_notBefore(crt), -60);
    X509_gmtime_adj(X509_getm_notAfter(crt), 3600);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(crt), "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(crt, X509_get_subject_name(crt));
    X509_set_pubkey(crt, key);
    assert_true(X509_sign(crt, key, EVP_sha256()) > 0);
    f = fopen(crt_path, "w");
    PEM_write_X509(f, crt);
    fclose(f);
    f = fopen(key_path, "w");
    PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
    fclose(f);
    X509_free(crt);
    EVP_PKEY_free(key);
}
