#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Made tests/golden/flow.tsv out of recordings of the system millrace replaces: flow_rows.py FOLDER > flow.tsv

Rows, fields separated by tabs; scenario first, so that the test can go scenario by scenario:
  pipeline  scenario  definition, as tests/support/flow_fixture.h writes it
  ask       label  pipeline|model  name  request id  message (hex)  headers  answer
  produce   label  topic  partition  key (hex or -)  value (hex)  headers        a record written by an outside producer
  record    label  topic  partition  key  value (hex)  headers                   what was there afterwards
Headers are name=value (value in hex), separated by commas. The answer is ok:HEX, error:TEXT or none.
Left out are scenarios without records of a request: topics-and-groups, ready, status-shapes.
"""
import json
import sys
from pathlib import Path

import yaml

LEFT_OUT = {"topics-and-groups", "ready", "status-shapes"}


def words(step, pipeline):
    out = []
    if step.get("inputs") or step.get("steps") or step.get("externalInputs"):
        out += ["<", ",".join(step.get("inputs") or step.get("steps") or step["externalInputs"])]
    if step.get("triggers"):
        out += ["!", ",".join(step["triggers"])]
    for key, word in (("inputsJoinType", "join"), ("stepsJoin", "join"), ("triggersJoinType", "tjoin"), ("joinWindowMs", "window")):
        if key in step:
            out.append(f"{word}={step[key]}")
    if "batch" in step:
        out.append(f"batch={step['batch']['size']} bwindow={step['batch']['windowMs']}")
    if step.get("tensorMap"):
        out.append("map=" + ",".join(f"{k}:{v}" for k, v in step["tensorMap"].items()))
    return " ".join(out)


def definition(text):
    doc = yaml.safe_load(text)
    name, spec = doc["metadata"]["name"], doc["spec"]
    parts = [f"{s['name']} {words(s, name)}".strip() for s in spec["steps"]]
    if spec.get("allowCycles"):
        parts[0] += f" cycles={spec['maxStepRevisits']}"
    if "input" in spec:
        parts.append(f"in {words(spec['input'], name)}")
    if "output" in spec:
        parts.append(f"out {words(spec['output'] or {}, name)}".strip())
    return f"{name}: " + "; ".join(parts)


def headers(pairs):
    return ",".join(f"{k.lower()}={v.encode('latin-1', 'replace').hex()}" for k, v in pairs) or "-"


def record_headers(r):
    return ",".join(f"{h['name']}={h['hex']}" for h in r["headers"]) or "-"


def answer(x, outputs):
    got = x.get("response") or {}
    if got.get("code") == "OK":
        return "ok:" + got["message_hex"]
    if got.get("status") == 200 and outputs:
        return "ok:" + outputs[0]["value_hex"]
    if got.get("code") or got.get("status") == 400:
        return "error:" + (got.get("details") or got.get("body"))
    return "none"


def exchange_rows(scenario, x, records):
    sent, got = x["request"], x.get("response") or {}
    pairs = sent.get("headers", sent.get("metadata"))
    target = [v for k, v in pairs if k.lower() in ("seldon-model", "seldon-internal-model")][-1]
    kind, name = ("pipeline" if target.endswith(".pipeline") else "model"), target.split(".")[0]
    ids = [v for k, v in pairs if k.lower() == "x-request-id" and v]
    composite = [v for k, v in got.get("headers", got.get("initial_metadata", [])) if k.lower() == "x-request-id"]
    keys = [c for c in composite if c.count(".") >= 2] or [k for i in ids for k in {r["key"] for r in records} if k.endswith("." + i)]
    if not keys:
        return
    mine = [r for r in records if r["key"] == keys[0]]
    inputs = [r for r in mine if r["topic"].endswith(f".{kind}.{name}.inputs")]
    outputs = sorted((r for r in mine if r["topic"].endswith(f".{kind}.{name}.outputs")), key=lambda r: r["offset"])
    if not inputs:
        return
    label = f"{scenario}/{x['label']}"
    yield ("ask", label, kind, name, keys[0].split(".", 2)[2], inputs[0]["value_hex"],
           headers([(k, v) for k, v in pairs if k.lower().startswith("x-")]), answer(x, outputs))
    for r in mine:
        yield "record", label, r["topic"], str(r["partition"]), r["key"], r["value_hex"], record_headers(r)


def async_rows(scenario, kind, records):
    for r in records:
        if f".{kind}." in r["topic"] and r["topic"].endswith(".inputs"):
            label = f"{scenario}/{r['key']}"
            yield ("produce", label, r["topic"], str(r["partition"]), r["key_hex"], r["value_hex"], record_headers(r))
            for other in records:
                if other["key"] == r["key"]:
                    yield ("record", label, other["topic"], str(other["partition"]), other["key"], other["value_hex"],
                           record_headers(other))


def main():
    for path in sorted(Path(sys.argv[1]).glob("*.json")):
        if path.stem in LEFT_OUT:
            continue
        data = json.loads(path.read_text())
        for text in data.get("pipelines", []):
            print("pipeline", path.stem, definition(text), sep="\t")
        for x in data.get("exchanges", []):
            for row in exchange_rows(path.stem, x, data["records"]):
                print(*row, sep="\t")
        if not data.get("exchanges"):
            for row in async_rows(path.stem, "pipeline" if data.get("pipelines") else "model", data.get("records", [])):
                print(*row, sep="\t")


if __name__ == "__main__":
    main()
