/* app/gateway_secrets.h - the inference port's certificates out of Kubernetes Secrets (security.gateway.tls.secret, clientSecret).
 *
 * What a Secret says is kept in files that only this process sees, whose paths tls_server looks at again every few seconds: so a Secret
 * that changes is a certificate that changes. Without Secrets the paths are the configuration's.
 * Everything is called on the main thread, whose loop ends after the workers.   Used by: app/lanes.c.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "app/config.h"
#include "cred/secret.h"

struct gateway_secret_file { struct secret_file file; struct str key; };
struct gateway_secret { struct gateway_secret_file files[2]; size_t n; struct secret_watch *watch; struct str name; };
struct gateway_secrets { struct gateway_secret own, clients; };           /* {0} is fine */

/* Blocks until they are read. Errors name the Secret, and say what to do. */
enum rc gateway_secrets_open(struct gateway_secrets *g, const struct config *c, struct loop *loop, struct workers *workers, struct err *e) MUST_USE;
struct tls_options gateway_secrets_tls(const struct gateway_secrets *g, const struct config *c);               /* borrowed from both */
void gateway_secrets_close(struct gateway_secrets *g);                    /* before the workers end */
