/* Why these and no filter of system calls: docs/adr/0009-what-a-process-gives-up.md. SPDX-License-Identifier: Apache-2.0 */
#include "app/harden.h"

#include "base/diag.h"
#include "base/buf.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of root's powers: what reading and writing a data folder takes that is somebody else's, and a port below 1024. */
static const unsigned kept = 1u << CAP_DAC_OVERRIDE | 1u << CAP_DAC_READ_SEARCH | 1u << CAP_FOWNER | 1u << CAP_CHOWN | 1u << CAP_NET_BIND_SERVICE;

/* Capabilities belong to a thread; those that come later inherit. */
static void capabilities_drop(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

    if (syscall(SYS_capget, &head, data)) return;
    data[0].effective &= kept;
    data[0].permitted &= kept;
    data[0].inheritable = 0;
    data[1] = (struct __user_cap_data_struct){0};
    if (syscall(SYS_capset, &head, data)) diag(DIAG_WARN, "harden.capabilities_kept", KV_CSTR("why", strerror(errno)));
}

/* Some systems hand a dump to a program whatever the limit says: then it is one without memory, with nothing but registers. */
static void core_dumps_end(void)
{
    struct rlimit l;
    int fd = open("/proc/self/coredump_filter", O_WRONLY | O_CLOEXEC);

    if (fd >= 0) {
        if (write(fd, "0", 1) != 1) diag(DIAG_DEBUG, "harden.core_filter", KV_CSTR("why", strerror(errno)));
        close(fd);
    }
    if (getrlimit(RLIMIT_CORE, &l)) return;
    l.rlim_cur = 0;
    setrlimit(RLIMIT_CORE, &l);
}

void harden_process(const struct config *c)
{
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    capabilities_drop();
    if (!c->security_core_dumps) core_dumps_end();
}

static void look(const char *path, const char *what, const char *mode)
{
    AUTO(buf_fini) struct buf why = {0};
    struct stat st;

    if (!path || !*path || stat(path, &st) || !(st.st_mode & 077)) return;
    buf_printf(&why, "others on this machine may get at %s: chmod %s", what, mode);
    diag(DIAG_WARN, "harden.mode", KV_CSTR("why", buf_cstr(&why)), KV_CSTR("path", path));
}

void harden_look(const struct config *c)
{
    if (config_runs_broker(c)) look(c->data.p, "everything that is kept", "700");
    if (config_runs_gateway(c) && config_gateway_encrypts(c)) look(c->security_gateway_tls_key_path.p, "the private key", "600");
    for (size_t i = 0; i < c->broker_listeners.n && config_runs_broker(c); i++) look(c->broker_listeners.list[i].key_path.p, "the private key", "600");
}
