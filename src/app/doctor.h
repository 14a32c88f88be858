/* app/doctor.h - what `millrace doctor` looks at beside a running process: this machine, the certificates, and a Kafka cluster, reached
 * as the data plane reaches it.
 *
 * Used by: cli/doctor.c.   Lives on: any thread, blocking.   SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "app/config.h"
#include "base/buf.h"
#include "base/err.h"

enum verdict { VERDICT_OK, VERDICT_WARN, VERDICT_FAIL };
struct finding {
    const char *check;                           /* "disk"; never ends */
    enum verdict verdict;
    const char *trouble;                         /* "sasl_authentication_failed", … (bus/trouble.h); NULL: none of the five */
    char text[520], remedy[320];
};
typedef void (*finding_fn)(void *ctx, const struct finding *f);
PRINTF(5, 6) void finding_say(finding_fn fn, void *ctx, const char *check, enum verdict v, const char *fmt, ...);
/* … with a remedy that follows the text. */
PRINTF(6, 7) void finding_advise(finding_fn fn, void *ctx, const char *check, enum verdict v, const char *remedy, const char *fmt, ...);
void finding_trouble(finding_fn fn, void *ctx, const char *check, const struct err *e);       /* a failure, one of the five if it is */

void doctor_machine(const struct config *c, finding_fn fn, void *ctx);           /* clock, open files, data folder, its device */
void doctor_certificates(const struct config *c, finding_fn fn, void *ctx);

/* The cluster of kafka.bootstrap, found by librdkafka with everything that is configured; says how it went. NULL: it was not reached. */
struct cluster;
struct cluster *doctor_cluster(const struct config *c, finding_fn fn, void *ctx);
/* As bus_ask(). */
enum rc cluster_ask(struct cluster *k, int32_t node, struct bytes frame, struct buf *ret, struct err *e) MUST_USE;
struct cluster *cluster_free(struct cluster *k);         /* NULL is fine; returns NULL */

/* How long something took, several times: in order afterwards. */
enum { TIMES_MAX = 64 };
struct times { uint64_t us[TIMES_MAX]; size_t n; };
uint64_t times_part(struct times *t, unsigned percent);  /* percentile, 50: the median; sorts */
void doctor_round_trip(struct times *t, const char *by, finding_fn fn, void *ctx);
