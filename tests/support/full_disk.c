/* tests/support/full_disk.c - a disk that fills up when a test says so, wherever the test runs.
 *
 * Preloaded into a real millrace. The file named by FULL_DISK says how full the disk is: "nearly" shows almost no free
 * space, "suddenly" lets every write beyond the end of a file fail with ENOSPC though there seemed to be room (a quota, a
 * thin volume), "both" does both. Without the file everything is as it is. SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FREE_BLOCKS = 256 };

int statvfs64(const char *path, struct statvfs64 *st);
ssize_t pwritev64(int fd, const struct iovec *iov, int n, off64_t at);

static char state(void)
{
    const char *name = getenv("FULL_DISK");
    int fd = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    char first = 0;

    if (fd < 0) return 0;
    if (read(fd, &first, 1) != 1) first = 0;
    close(fd);
    return first;
}

static void next(const char *name, void *to)
{
    void *at = dlsym(RTLD_NEXT, name);

    memcpy(to, &at, sizeof at);
}

int statvfs64(const char *path, struct statvfs64 *st)
{
    int (*real)(const char *, struct statvfs64 *), rc;
    char s = state();

    next("statvfs64", &real);
    rc = real(path, st);
    if (!rc && (s == 'n' || s == 'b')) st->f_bavail = st->f_bfree = FREE_BLOCKS;
    return rc;
}

ssize_t pwritev64(int fd, const struct iovec *iov, int n, off64_t at)
{
    ssize_t (*real)(int, const struct iovec *, int, off64_t);
    char s = state();
    struct stat st;
    size_t bytes = 0;

    next("pwritev64", &real);
    for (int i = 0; i < n; i++)
        bytes += iov[i].iov_len;
    if ((s == 's' || s == 'b') && !fstat(fd, &st) && at + (off64_t)bytes > st.st_size) {
        errno = ENOSPC;
        return -1;
    }
    return real(fd, iov, n, at);
}
