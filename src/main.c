/* SPDX-License-Identifier: Apache-2.0 */
#include "app/serve.h"
#include "cli/cli.h"
#include <malloc.h>

/* Buffers of a few megabytes come and go under load. glibc would raise its thresholds with each of them and keep what is
 * free for ever; with these it gives back what is more than a burst needs. */
enum { MAP_FROM_BYTES = 4 << 20, KEEP_FREE_BYTES = 4 << 20 };

int main(int argc, char **argv)
{
    mallopt(M_MMAP_THRESHOLD, MAP_FROM_BYTES);
    mallopt(M_TRIM_THRESHOLD, KEEP_FREE_BYTES);
    return cli_main(argc, argv, app_serve);
}
