/* control/read.h - what resource.c, pipeline.c and experiment.c share while they read one document. Used by: these only.
 * SPDX-License-Identifier: Apache-2.0
 */
#pragma once
#include "control/resource.h"

struct reading {
    const struct resource_input *in;
    struct resource *r;                          /* being made */
};

void warn_at(const struct reading *rd, const struct yaml_node *at, const char *fmt, ...) PRINTF(3, 4);
enum flow_record record_read(struct yaml_map *dataflow, bool *ret_given);
void experiment_read(struct reading *rd, struct yaml_map *spec);
void pipeline_read(struct reading *rd, struct yaml_map *spec);
