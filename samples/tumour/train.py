#!/usr/bin/python3
"""Trains the three sample models and writes the rows that `./dev run` sends.

Data: Breast Cancer Wisconsin (Diagnostic), 569 real biopsies, as scikit-learn ships it. Each biopsy has ten
measurements of the cell nuclei, once as the mean over all cells ("mean") and once for the three most abnormal ones
("worst"). Two models look at one half each; a third one weighs their opinions (stacking). Nothing here is random from
run to run. Needs Debian's python3-xgboost (1.7.4, the version that millrace loads) and python3-sklearn.

    /usr/bin/python3 samples/tumour/train.py        # rewrites models/*.json and rows.json beside it
"""

import json
import pathlib

import numpy as np
import xgboost
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import KFold, train_test_split

HERE = pathlib.Path(__file__).parent
SETTINGS = {
    "objective": "binary:logistic",
    "max_depth": 3,
    "eta": 0.15,
    "subsample": 1.0,
    "nthread": 1,
    "seed": 7,
}


def train(features, labels, rounds=40, **more):
    return xgboost.train({**SETTINGS, **more}, xgboost.DMatrix(features, label=labels), rounds)


def predict(model, features):
    return model.predict(xgboost.DMatrix(features))


def out_of_fold(features, labels):
    """Opinions on rows that the model giving them has not seen: what the third model is trained on."""
    opinions = np.zeros(len(labels), dtype=np.float32)
    for seen, unseen in KFold(n_splits=5, shuffle=True, random_state=7).split(features):
        opinions[unseen] = predict(train(features[seen], labels[seen]), features[unseen])
    return opinions


def main():
    data = load_breast_cancer()
    features = data.data.astype(np.float32)
    malignant = (data.target == 0).astype(np.float32)
    x_train, x_test, y_train, y_test = train_test_split(
        features, malignant, test_size=0.25, random_state=7, stratify=malignant
    )
    halves = {"tumour-mean": slice(0, 10), "tumour-worst": slice(20, 30)}

    models, opinions, test_opinions = {}, [], []
    for name, columns in halves.items():
        models[name] = train(x_train[:, columns], y_train)
        opinions.append(out_of_fold(x_train[:, columns], y_train))
        test_opinions.append(predict(models[name], x_test[:, columns]))
    models["tumour-verdict"] = train(np.stack(opinions, 1), y_train, rounds=10, max_depth=2)

    (HERE / "models").mkdir(exist_ok=True)
    for name, model in models.items():
        model.save_model(HERE / "models" / f"{name}.json")

    for name, opinion in zip(halves, test_opinions):
        print(f"{name}: {np.mean((opinion > 0.5) == (y_test > 0.5)):.3f} of {len(y_test)} test rows right")
    verdict = predict(models["tumour-verdict"], np.stack(test_opinions, 1))
    print(f"tumour-verdict: {np.mean((verdict > 0.5) == (y_test > 0.5)):.3f} of {len(y_test)} test rows right")

    rows = [
        {
            "mean": [float(f"{v:.6g}") for v in row[halves["tumour-mean"]]],
            "worst": [float(f"{v:.6g}") for v in row[halves["tumour-worst"]]],
            "malignant": bool(label),
        }
        for row, label in zip(x_test, y_test)
    ]
    text = ",\n".join(json.dumps(row) for row in rows)
    (HERE / "rows.json").write_text(f"[\n{text}\n]\n")


if __name__ == "__main__":
    main()
