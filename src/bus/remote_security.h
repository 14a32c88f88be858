/* bus/remote_security.h - how the remote bus proves who it is, and how it knows its brokers: what the configuration says.
 * Used by: app, bus/remote*.c.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "base/bytes.h"

enum remote_protocol { REMOTE_PLAINTEXT, REMOTE_SSL, REMOTE_SASL_SSL, REMOTE_SASL_PLAINTEXT };

/* A file, or, where a Secret is named, its key: the path's last part. Empty: none. `optional`: it counts if it is there. */
struct remote_file { struct str path; bool optional; };

struct remote_security {                         /* borrowed for the call */
    enum remote_protocol protocol;
    struct str mechanism;                        /* PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER, AWS_MSK_IAM */
    struct str username;
    struct str sasl_secret;                      /* Secrets: a name, or a folder (cred/secret.h); empty: files */
    struct remote_file password;
    struct str oauth_method, oauth_client_id, oauth_client_secret_path, oauth_scope, oauth_token_endpoint_url, oauth_extensions, oauth_ca_path;
    struct str aws_region, aws_role_arn;
    struct str tls_secret, brokers_secret;
    struct remote_file crt, key, ca;             /* the client's own; in tls_secret by default tls.crt, tls.key, ca.crt */
    struct remote_file brokers_ca;               /* who signs brokers' certificates; none: ca, else the system's */
    bool any_name;                               /* the brokers' names are not compared with their certificates */
};
