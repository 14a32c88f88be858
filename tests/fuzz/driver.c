/* tests/fuzz/driver.c - runs a fuzz target over its corpus where there is no libFuzzer: every file of every folder (or
 * file) named on the command line, once, in memory of exactly its size. Ends with 1 when there was none.
 * SPDX-License-Identifier: Apache-2.0
 */
#include "base/macros.h"
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run(const char *path, size_t *ran)
{
    FILE    *f = fopen(path, "rb");
    uint8_t *p = NULL;
    long     n;

    must(f != NULL && fseek(f, 0, SEEK_END) == 0 && (n = ftell(f)) >= 0);
    rewind(f);
    p = malloc(n ? (size_t)n : 1);
    must(p && fread(p, 1, (size_t)n, f) == (size_t)n);
    fclose(f);
    LLVMFuzzerTestOneInput(p, (size_t)n);
    free(p);
    ++*ran;
}

static void visit(const char *path, size_t *ran)
{
    struct stat    st;
    struct dirent *d;
    DIR           *dir;

    must(stat(path, &st) == 0);
    if (!S_ISDIR(st.st_mode)) {
        run(path, ran);
        return;
    }
    must((dir = opendir(path)) != NULL);
    while ((d = readdir(dir))) {
        char inside[4096];

        if (d->d_name[0] == '.') continue;
        must(snprintf(inside, sizeof inside, "%s/%s", path, d->d_name) < (int)sizeof inside);
        run(inside, ran);
    }
    closedir(dir);
}

int main(int argc, char **argv)
{
    size_t ran = 0;

    for (int i = 1; i < argc; i++) visit(argv[i], &ran);
    printf("%zu inputs\n", ran);
    return ran ? 0 : 1;
}
