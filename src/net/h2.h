/* net/h2.h - HTTP/2 for the server, by nghttp2; http_server decides when it speaks. SPDX-License-Identifier: Apache-2.0 */
#pragma once

struct http_server;
void h2_server_init(struct http_server *s);      /* callback tables, made once per server */
void h2_server_fini(struct http_server *s);
