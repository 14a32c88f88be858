#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Made tests/golden/gateway.tsv out of recordings of the system millrace replaces: gateway_rows.py FOLDER > gateway.tsv

Rows, fields separated by tabs:
  pipeline  scenario  definition, as tests/support/flow_fixture.h writes it
  rest      label  method  path  headers  body  status  answer's x-* headers  answer's body
  grpc      label  metadata  message (hex)  code  text  answer's x-* metadata  answer's message (hex)
Headers are name=value (value in hex), separated by commas; an empty field is "-"; bodies are in hex.
"""
import json
import sys
from pathlib import Path

from flow_rows import definition

SCENARIOS = ("one-step chain-of-2 chain-of-3-tensormap params-id-headers model-response-headers error-first-step join-inner "
             "conditional-any types-rest types-grpc-typed status-shapes").split()
CODES = ("OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED RESOURCE_EXHAUSTED "
         "FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS UNAUTHENTICATED").split()


def headers(pairs, only_x=False):
    kept = [(k.lower(), v) for k, v in pairs if not only_x or k.lower().startswith("x-")]
    return ",".join(f"{k}={v.encode('latin-1', 'replace').hex()}" for k, v in kept) or "-"


def hexed(text):
    return text.encode().hex() or "-"


def row(scenario, x):
    sent, got = x["request"], x.get("response") or {}
    label = f"{scenario}/{x['label'].replace(' ', '-')}"
    if "status" in got:
        own = [p for p in sent["headers"] if p[0].lower() not in ("host", "content-length", "connection")]
        return ["rest", label, sent["method"], sent["path"], headers(own), hexed(sent["body"]), str(got["status"]),
                headers(got["headers"], True), hexed(got["body"])]
    if "code" in got and "message_hex" in sent and sent["method"].endswith("/ModelInfer"):
        return ["grpc", label, headers(sent["metadata"]), sent["message_hex"] or "-", str(CODES.index(got["code"])),
                hexed(got.get("details", "")), headers(got["initial_metadata"], True), got.get("message_hex") or "-"]
    return None


def named(rows):
    """The pipelines that routing headers name."""
    for fields in rows:
        for pair in fields[4 if fields[0] == "rest" else 2].split(","):
            name, _, value = pair.partition("=")
            if name in ("seldon-model", "seldon-internal-model"):
                yield bytes.fromhex(value).decode().removesuffix(".pipeline")


def main(folder):
    recorded = {scenario: json.loads((Path(folder) / f"{scenario}.json").read_text()) for scenario in SCENARIOS}
    definitions = [definition(text) for one in recorded.values() for text in one["pipelines"]]
    known = {text.split(":")[0]: text for text in definitions}
    for scenario, one in recorded.items():
        rows = [fields for x in one["exchanges"] if (fields := row(scenario, x))]
        for name in sorted(set(named(rows)) & set(known)):
            print("pipeline", scenario, known[name], sep="\t")
        for fields in rows:
            print(*fields, sep="\t")


main(sys.argv[1])
