#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes xgb_models.h: three tiny models, a few rows and what XGBoost itself predicts for them. Needs Debian's
python3-xgboost, the version that millrace loads.

    /usr/bin/python3 tests/unit/upstream/xgb_models.py > tests/unit/upstream/xgb_models.h"""
import json
import os
import tempfile

import numpy as np
import xgboost

rng = np.random.default_rng(3)
x = rng.normal(size=(200, 3)).astype(np.float32)
signal = x[:, 0] * 2 - x[:, 1] + np.where(x[:, 2] > 0.3, 3, 0)
rows = x[:6].copy()
rows[5, 1] = np.nan
models = {
    "regression": ({"objective": "reg:squarederror"}, signal),
    "binary": ({"objective": "binary:logistic"}, (signal > 1).astype(np.float32)),
    "classes": ({"objective": "multi:softprob", "num_class": 3}, np.digitize(signal, [-1, 2]).astype(np.float32)),
    "linear": ({"objective": "reg:squarederror", "booster": "gblinear"}, signal),
}


def floats(values):
    return ", ".join("NAN" if np.isnan(v) else float(v).hex() + "f" for v in np.asarray(values, dtype=np.float32).flatten())


print("/* Made by xgb_models.py. SPDX-License-Identifier: Apache-2.0 */\n#pragma once\n#include <math.h>\n")
print(f"static const float rows[6][3] = {{{', '.join('{' + floats(r) + '}' for r in rows)}}};")
for name, (settings, label) in models.items():
    trees = {} if settings.get("booster") == "gblinear" else {"max_depth": 2}
    model = xgboost.train({"nthread": 1, **trees, **settings}, xgboost.DMatrix(x, label=label), 2)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.json")
        model.save_model(path)
        text = json.dumps(json.load(open(path)), separators=(",", ":"))
    print(f"static const float {name}_predicted[] = {{{floats(model.predict(xgboost.DMatrix(rows)))}}};")
    if name == "binary":
        print(f"static const float binary_margins[] = {{{floats(model.predict(xgboost.DMatrix(rows), output_margin=True))}}};")
    quoted = [json.dumps(text[i:i + 110]) for i in range(0, len(text), 110)]
    print(f"static const char {name}_json[] =\n    " + "\n    ".join(quoted) + ";")
