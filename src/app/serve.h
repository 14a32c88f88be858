/* app/serve.h - `millrace serve`: everything, wired. Used by: the program's main().
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once

struct config;

/* Runs until SIGTERM or SIGINT. Returns the process's exit status (enum cli_exit's numbers). */
int app_serve(const struct config *c);
