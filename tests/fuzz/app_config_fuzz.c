/* The configuration: the first byte decides whether the rest is the YAML file or kafka.json. What was read is printed,
 * and read again as the same. SPDX-License-Identifier: Apache-2.0 */
#include "app/config.h"
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum rc load(const char *flag, struct bytes text, struct config **ret)
{
    AUTO(problems_fini) struct problems problems = {0};
    char path[40], name[] = "--namespace=x", flags[24];
    int fd = memfd_create("config", MFD_CLOEXEC);
    char *args[] = {flags, path, name};
    struct config_sources src = {.args = args, .args_n = 3, .namespace_file = "/nonexistent"};
    enum rc rc;

    must(fd >= 0 && write(fd, text.p, text.n) == (ssize_t)text.n);
    snprintf(flags, sizeof flags, "%s", flag);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    rc = config_load(&src, ret, &problems);
    must((rc == RC_OK) == (problems.n == 0));
    close(fd);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum config_format formats[] = {CONFIG_AS_TABLE, CONFIG_AS_JSON, CONFIG_AS_YAML};
    AUTO(buf_fini) struct buf yaml = {0};
    struct config *c, *d;

    if (!size ||
        load(data[0] == '{' ? "--kafka-config-path" : "--config", bytes_of(data, size), &c))
        return 0;
    for (size_t i = 0; i < countof(formats); i++) {
        buf_clear(&yaml);
        config_print(c, formats[i], &yaml);
    }
    bool masked = memmem(yaml.p, yaml.n, "***", 3) != NULL;
    if (!masked && !load("--config", buf_view(&yaml), &d)) {
        for (int i = 0; i < CONFIG_KEYS; i++) {
            AUTO(buf_fini) struct buf x = {0}, y = {0};
            config_put_value(c, (enum config_key)i, &x);
            config_put_value(d, (enum config_key)i, &y);
            must(bytes_eq(buf_view(&x), buf_view(&y)));
        }
        config_free(d);
    } else {
        must(masked); /* what was printed must be taken */
    }
    config_free(c);
    return 0;
}
