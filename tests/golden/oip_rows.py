#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Made tests/golden/oip.tsv out of recordings of the system millrace replaces: oip_rows.py FOLDER > oip.tsv

One row a fact: kind, label, and two fields.
  to_proto   REST body        value of the pipeline's input record (hex)
  to_json    value (hex)      REST answer
  request    value (hex)      -               a ModelInferRequest that was on the wire or in a topic
  response   value (hex)      -
  call       value (hex)      the request sent to the model for it (hex); label ends with the model's name
  refused    REST body        -               bodies that were answered 400, with a closed connection, or never
"""
import json
import sys
from pathlib import Path


def request_id(headers):
    return next((v for k, v in headers if k.lower() == "x-request-id"), None)


def rest_rows(scenario, x, records):
    sent, got, label = x["request"], x.get("response") or {}, f"{scenario}/{x['label']}"
    if not sent["path"].endswith("/infer"):
        return
    key = request_id(sent["headers"])
    target = next((v for k, v in sent["headers"] if k.lower() == "seldon-model"), "").partition(".pipeline")[0]
    mine = [r for r in records if key and r["key"].endswith("." + key) and f".pipeline.{target}." in r["topic"]]
    inputs = [r for r in mine if r["topic"].endswith(".inputs")]
    outputs = sorted((r for r in mine if r["topic"].endswith(".outputs")), key=lambda r: r["offset"])
    if inputs:
        yield "to_proto", label, sent["body"], inputs[0]["value_hex"]
    if outputs and got.get("status") == 200:
        yield "to_json", label, outputs[0]["value_hex"], got["body"]
    if scenario == "status-shapes" and got.get("status") in (None, 400) and not any(w in label for w in ("header", "kind", "empty")):
        yield "refused", label, sent["body"], ""


def rows(folder):
    for path in sorted(Path(folder).glob("*.json")):
        data = json.loads(path.read_text())
        scenario, records = path.stem, data.get("records", [])
        for x in data.get("exchanges", []):
            if "path" in x["request"]:
                yield from rest_rows(scenario, x, records)
            elif x["request"]["method"].endswith("/ModelInfer"):
                yield "request", f"{scenario}/{x['label']}", x["request"]["message_hex"], ""
                if (x.get("response") or {}).get("code") == "OK":
                    yield "response", f"{scenario}/{x['label']}", x["response"]["message_hex"], ""
        for r in records:
            kind = (r.get("decoded") or {}).get("type")
            if kind:
                yield kind.replace("ModelInfer", "").lower(), f"{scenario}/{r['topic']}", r["value_hex"], ""
        for call in data.get("model_server_calls", []):
            if call.get("proto") != "grpc":
                continue
            same = [c for c in data["model_server_calls"] if c.get("proto") == "grpc" and call_key(c) == call_key(call)]
            if len(same) == 1:
                yield from call_rows(scenario, call, records)


def call_key(call):
    return call["metadata"].get("x-request-id", [""])[0], call["metadata"]["seldon-model"][0]


def call_rows(scenario, call, records):
    key, model = call_key(call)
    value = [r["value_hex"] for r in records if r["topic"].endswith(f".model.{model}.inputs") and r["key"].endswith("." + key)
             and (r.get("decoded") or {}).get("type") == "ModelInferRequest"]
    if len(value) == 1:
        yield "call", f"{scenario}/{model}", value[0], call["request_hex"]


seen = set()
for row in rows(sys.argv[1]):
    line = "\t".join(row)
    facts = (row[0], row[2], row[3])
    if facts not in seen and "\n" not in line and len(line.split("\t")) == 4:
        seen.add(facts)
        print(line)
