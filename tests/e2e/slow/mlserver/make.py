"""Writes an MLServer model folder: a scikit-learn classifier of iris and the custom runtime. Run by MLServer's Python."""

import json
import pathlib
import shutil
import sys

import joblib
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

folder, http, grpc, metrics = pathlib.Path(sys.argv[1]), *map(int, sys.argv[2:5])
data = load_iris()
(folder / "iris").mkdir(parents=True)
(folder / "scale").mkdir()
rows, labels = data.data[::25], data.target[::25]
model = LogisticRegression(C=1000, max_iter=1000).fit(data.data / 10, data.target)
assert (model.predict(rows / 10) == labels).all() and (model.predict(rows) != labels).any(), "scaling must matter"
joblib.dump(model, folder / "iris/model.joblib")
shutil.copy(pathlib.Path(__file__).with_name("runtime.py"), folder / "scale/runtime.py")


def write(name, value):
    (folder / name).write_text(json.dumps(value))


write("settings.json", {"host": "127.0.0.1", "http_port": http, "grpc_port": grpc, "metrics_port": metrics, "parallel_workers": 0,
                        "kafka_enabled": False})
write("iris/model-settings.json", {"name": "iris", "implementation": "mlserver_sklearn.SKLearnModel",
                                   "parameters": {"uri": "./model.joblib", "version": "v1"}})
write("scale/model-settings.json", {"name": "scale", "implementation": "runtime.Scale", "parameters": {"extra": {"factor": 0.1}}})
write("labels.json", {"rows": rows.tolist(), "labels": labels.tolist()})
