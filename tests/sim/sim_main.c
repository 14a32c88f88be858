/* sim [--seeds N] [--seed FIRST] [--jobs N] [--trace]
 *
 * Runs N seeds from FIRST on, spread over so many processes. A seed that fails is named, with how to repeat it; the exit status
 * is then 1. SPDX-License-Identifier: Apache-2.0 */
#include "base/diag.h"
#include "run.h"

#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { JOBS_MAX = 64 };
struct progress { uint64_t seed, done, failed, frames, events, ops, simulated_ms, starts, cuts, kills; };
struct job { struct progress *p; pid_t pid; };

static void one(struct progress *p, const struct run_options *o)
{
    struct run_result r;

    p->seed = o->seed;
    run_seed(o, &r);
    p->done++;
    p->frames += r.frames;
    p->events += r.events;
    p->ops += r.disk_ops;
    p->simulated_ms += r.simulated_ms;
    p->starts += r.starts;
    p->cuts += r.cuts;
    p->kills += r.kills;
    if (r.verdict.n) {
        p->failed++;
        printf("%s\nseed %llu failed: %s. Repeat it: ./dev sim --seed %llu\n", buf_cstr(&r.story),
               (unsigned long long)o->seed, r.verdict.anomalies[0].name, (unsigned long long)o->seed);
        fflush(stdout);
    }
    if (o->loud) printf("seed %llu: hash %016llx\n", (unsigned long long)o->seed, (unsigned long long)r.hash);
    run_result_fini(&r);
}

static void job_main(struct progress *p, struct run_options o, uint64_t n, uint64_t stride)
{
    for (uint64_t i = 0; i < n && p->failed < 3; i += stride, o.seed += stride)
        one(p, &o);
}

static uint64_t number(const char *s)
{
    int64_t n;

    must(s && str_to_i64(str_of(s), &n) && n >= 0);
    return (uint64_t)n;
}

static int sum_up(struct job *jobs, unsigned n)
{
    struct progress all = {0};
    int status, bad = 0;

    for (unsigned i = 0; i < n; i++) {
        const struct progress *p = jobs[i].p;

        if (jobs[i].pid) waitpid(jobs[i].pid, &status, 0);
        if (jobs[i].pid && WIFSIGNALED(status)) {
            printf("seed %llu ended by signal %d. Repeat it: ./dev sim --seed %llu\n", (unsigned long long)p->seed,
                   WTERMSIG(status), (unsigned long long)p->seed);
            bad = 1;
        }
        all.done += p->done, all.failed += p->failed, all.frames += p->frames, all.events += p->events;
        all.ops += p->ops, all.simulated_ms += p->simulated_ms, all.starts += p->starts, all.cuts += p->cuts, all.kills += p->kills;
    }
    printf("%llu seeds, %llu failed: %llu s simulated, %llu starts, %llu power cuts, %llu kills, %llu requests, %llu changes of the "
           "disk, %llu events checked\n", (unsigned long long)all.done, (unsigned long long)all.failed,
           (unsigned long long)all.simulated_ms / 1000, (unsigned long long)all.starts, (unsigned long long)all.cuts,
           (unsigned long long)all.kills, (unsigned long long)all.frames, (unsigned long long)all.ops, (unsigned long long)all.events);
    return bad || all.failed || !all.done;
}

int main(int argc, char **argv)
{
    struct run_options o = {.seed = 1};
    struct job jobs[JOBS_MAX] = {0};
    uint64_t seeds = 0, first = 0;
    unsigned n = 1;

    for (int i = 1; i < argc; i++) {
        struct str a = str_of(argv[i]);

        if (str_is(a, "--trace")) o.loud = true;
        else if (str_is(a, "--seeds")) seeds = number(argv[++i]);
        else if (str_is(a, "--seed")) first = number(argv[++i]);
        else if (str_is(a, "--jobs")) n = (unsigned)number(argv[++i]);
        else if (str_is(a, "--lies")) o.lies = (unsigned)number(argv[++i]);
        else return fprintf(stderr, "sim: unknown option %s (--seeds N, --seed FIRST, --jobs N, --trace)\n", argv[i]), 2;
    }
    diag_silence(!o.loud);
    setvbuf(stdout, NULL, _IOLBF, 0);                             /* in step with standard error */
    if (first && !seeds) seeds = 1;
    if (!seeds) seeds = 1000;
    if (first) o.seed = first;
    n = MAX(MIN(n, JOBS_MAX), 1u);
    if (n > seeds) n = (unsigned)seeds;
    for (unsigned i = 0; i < n; i++) {
        struct run_options mine = o;

        jobs[i].p = mmap(NULL, sizeof *jobs[i].p, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        must(jobs[i].p != MAP_FAILED);
        mine.seed += i;
        if (n == 1) {
            job_main(jobs[i].p, mine, seeds, 1);
        } else if (!(jobs[i].pid = fork())) {
            job_main(jobs[i].p, mine, seeds - i, n);
            fflush(stdout);
            _exit(0);
        }
    }
    return sum_up(jobs, n);
}
