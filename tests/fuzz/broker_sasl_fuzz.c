/* What a client sends before it is known, and the rules that a certificate's subject goes through. The first byte says which:
 * a SCRAM message (first, then final), an OAUTHBEARER message and its token, mapping rules and a subject.
 * SPDX-License-Identifier: Apache-2.0 */
#include "cred/oauth.h"
#include "broker/principal.h"
#include "broker/scram.h"

#include <stdio.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char keys[] = "{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"k\",\"e\":\"AQAB\",\"n\":"
                           "\"sXchDaQebHnPiGvyDOAT4saGEUetSyo9MKLOoWFsueri23bOdgWp4Dy1WlUzewbgBHod5"
                           "pcM9H95GQRV3JDXboIRROSBigeC5yjU1hGzHHyXss8UDpre"
                           "cbAYxknTcQkhslANGRUZmdTOQ5qTRsLAt6BTYuyvVRdhS8exSZEy_c4gs_7svlJJQ4H9_"
                           "NxsiIoLwAEk7-Q3UXERGYw_75IDrGA84-lA_-Ct4eTlXHBI"
                           "Y2EaV7t7LjJaynVJCpkv4LKjTTAumiGUIuQhrNhZLuF_RJLqHpM2kgWFLU7-"
                           "VTdL1VbC2tejvcI2BlMkEpk1BzBZI0KQB0GaDWFLN-aEAw3vRw\"}]}";

/* Nobody gets in: the key behind the credential is not among what is sent. */
static void scram(struct str text)
{
    AUTO(scram_fini) struct scram x;
    AUTO(buf_fini) struct buf challenge = {0}, out = {0};
    struct scram_credential c;
    struct str first, final, user;
    struct err e;

    (void)str_cut(text, '\n', &first, &final);
    scram_init(&x, SCRAM_SHA_256);
    if (scram_first(&x, first, &user, &e)) return;
    must(user.n && user.n <= SCRAM_NAME_BYTES_MAX);
    scram_credential_unknown(SCRAM_SHA_256, user, bytes_of("secret", 6), &c);
    scram_challenge(&x, &c, STR("nonce"), &challenge);
    must(scram_final(&x, final, &out, &e) == RC_AUTH && !out.n);
}

static struct oauth *issuer(void)
{
    static struct oauth *o;
    char path[] = "/tmp/millrace-fuzz-jwks-XXXXXX";
    struct err e;
    FILE *f;

    if (o) return o;
    f = fdopen(mkstemp(path), "w");
    must(f && fputs(keys, f) >= 0 && !fclose(f));
    o = oauth_new(&(struct oauth_options){.jwks = str_of(path), .issuer = STR("i")});
    /* The keys are read with the first token, and kept. */
    must(oauth_verify(o, STR("eyJhbGciOiJSUzI1NiJ9.e30.AAAA"), 1000, &(struct oauth_login){0},
                      &e) == RC_AUTH);
    unlink(path);
    return o;
}

static void bearer(struct str text)
{
    struct oauth_login login = {0};
    struct str token;
    struct err e;

    if (oauth_message(text, &token, &e)) return;
    must(token.p >= text.p && token.p + token.n <= text.p + text.n);
    must(oauth_verify(issuer(), token, 1000, &login, &e) != RC_OK); /* nobody has the private key */
    oauth_login_fini(&login);
}

static void subject(struct str text)
{
    AUTO(buf_fini) struct buf name = {0};
    struct principal_rules *rules;
    struct str rule, dn;
    struct err e;

    (void)str_cut(text, '\n', &rule, &dn);
    if (principal_rules_new(rule, &rules, &e)) return;
    (void)principal_of_subject(rules, dn, &name);
    principal_rules_free(rules);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str text = {(const char *)data + 1, size - 1};

    if (!size) return 0;
    switch (data[0] % 3) {
    case 0: scram(text); break;
    case 1: bearer(text); break;
    case 2: subject(text); break;
    }
    return 0;
}
