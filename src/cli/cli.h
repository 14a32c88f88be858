/* cli/cli.h - the command line. One table of commands makes --help, the man page and what runs.
 *
 * Commands other than serve are clients of the management API over HTTP and of the inference port; libcurl is loaded
 * only for them. Results go to standard output, reasons to standard error.
 * Used by: the program's main().     SPDX-License-Identifier: Apache-2.0
 */
#pragma once

struct config;

enum cli_exit {
    CLI_DONE = 0,
    CLI_FAILED = 1,
    CLI_USAGE = 2,          /* usage or configuration */
    CLI_LOCKED = 3,         /* data folder in use */
    CLI_DAMAGE = 4
};

/* Runs one command. `serve` gets the configuration (borrowed) and returns an exit status. */
int cli_main(int argc, char **argv, int (*serve)(const struct config *c));
