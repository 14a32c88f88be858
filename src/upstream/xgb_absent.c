/* What the built-in runtime says when it is not part of the build. SPDX-License-Identifier: Apache-2.0 */
#include "upstream/xgb.h"

enum rc xgb_load(struct str path, struct xgb_model **ret, struct err *e)
{
    (void)ret;
    return err_set(e, RC_UNAVAILABLE, "this build has no runtime for XGBoost models (" STR_FMT ")", STR_ARG(path));
}

struct xgb_model *xgb_free(struct xgb_model *m)
{
    (void)m;
    return NULL;
}

uint64_t xgb_features(const struct xgb_model *m)
{
    (void)m;
    return 0;
}

enum rc xgb_predict(struct xgb_model *m, struct bytes request, struct buf *response, struct err *e)
{
    (void)m;
    (void)request;
    (void)response;
    return err_set(e, RC_UNAVAILABLE, "this build has no runtime for XGBoost models");
}

void xgb_metadata(const struct xgb_model *m, struct str name, struct str version, struct buf *ret)
{
    (void)m;
    (void)name;
    (void)version;
    (void)ret;
}
