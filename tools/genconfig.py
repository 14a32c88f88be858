#!/usr/bin/env python3
"""genconfig.py TABLE HEADER SOURCE DOC - schema/config.tbl to struct config, its table of rows, and docs/config.md.

SPDX-License-Identifier: Apache-2.0
"""
import re
import shlex
import sys

C_TYPES = {
    "bool": "bool", "int": "int64_t", "ms": "uint64_t", "size": "uint64_t", "ratio": "double", "text": "struct str",
    "path": "struct str", "address": "struct str", "choice": None, "list": "struct config_list",
    "map": "struct config_map", "listeners": "struct config_listeners",
}
UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
FORMS = {"name", "bootstrap", "prefix", "group", "property", "header", "level", "kafka", "infer", "broker"}
COLUMNS = ["key", "type", "accepts", "default", "env", "state", "doc"]


def number(text):
    for unit, factor in UNITS.items():
        if text.endswith(unit):
            return int(text[:-2]) * factor
    return int(text)


def snake(key):
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", key)
    return re.sub(r"[^A-Za-z0-9]+", "_", words).lower()


def c_string(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Row:
    def __init__(self, line_number, line):
        cells = shlex.split(line)
        if len(cells) != len(COLUMNS):
            sys.exit(f"config.tbl:{line_number}: {len(COLUMNS)} columns wanted, {len(cells)} there")
        for name, cell in zip(COLUMNS, cells):
            setattr(self, name, cell)
        if self.type not in C_TYPES:
            sys.exit(f"config.tbl:{line_number}: type {self.type} is unknown")
        if self.state not in ("start", "later"):
            sys.exit(f"config.tbl:{line_number}: state {self.state} is unknown")
        self.env = [] if self.env == "-" else self.env.split(",")
        self.field = snake(self.key)
        self.low, self.high, self.form, self.choices = 0, 0, "", []
        if self.type in ("int", "ms", "size", "ratio"):
            self.low, self.high = (number(end) for end in self.accepts.split(".."))
        elif self.type == "choice" or (self.type in ("list", "bool") and "|" in self.accepts):
            self.choices = [(c.rstrip("!"), c.endswith("!")) for c in self.accepts.split("|")]
        elif self.accepts != "-":
            if self.accepts not in FORMS:
                sys.exit(f"config.tbl:{line_number}: form {self.accepts} is unknown")
            self.form = self.accepts

    def c_type(self):
        return C_TYPES[self.type] or f"enum config_{self.field}"

    def enum_name(self, choice):
        return f"CONFIG_{self.field}_{snake(choice)}".upper()

    def accepts_text(self):
        """What the documentation says."""
        if self.choices:
            return " · ".join(c + (" (later)" if later else "") for c, later in self.choices)
        if self.type == "bool":
            return "true · false"
        if self.type in ("int", "ms", "size", "ratio"):
            return self.accepts
        if self.type in ("address", "listeners"):
            return "HOST:PORT" if self.type == "address" else "list of {name, listen, …}"
        return {"list": "list of texts", "map": "texts by name", "path": "path"}.get(self.type, "text")


def read(path):
    rows = []
    with open(path, encoding="utf-8") as f:
        for number_, line in enumerate(f, 1):
            if line.strip() and not line.startswith("#"):
                rows.append(Row(number_, line))
    keys = [r.key for r in rows]
    for key in keys:
        if keys.count(key) > 1:
            sys.exit(f"config.tbl: {key} is there twice")
    return rows


def header(rows):
    out = ["/* Made from schema/config.tbl by tools/genconfig.py. */", "#pragma once", ""]
    for r in rows:
        if r.type == "choice":
            out.append(f"enum config_{r.field} {{ " + ", ".join(r.enum_name(c) for c, _ in r.choices) + " };")
    out += ["", "enum config_key {"]
    out += [f"    CONFIG_KEY_{r.field.upper()}," for r in rows]
    out += ["    CONFIG_KEYS", "};", "", "struct config {"]
    for r in rows:
        unit = {"size": "bytes", "ms": "milliseconds"}.get(r.type, "")
        comment = f"{r.key}{', ' + unit if unit else ''}"
        out.append(f"    {r.c_type()} {r.field};".ljust(60) + f"/* {comment} */")
    out += ["", "    struct config_origin origins[CONFIG_KEYS];",
            "    struct config_list notes;                               /* to be said once at the start */",
            "    struct config_registry registry;                        /* what .confluent-schema.yaml says */",
            "    struct arena arena;                                     /* holds every text above */", "};", ""]
    return "\n".join(out)


def source(rows):
    out = ["/* Made from schema/config.tbl by tools/genconfig.py. */", '#include "app/config_row.h"', ""]
    for r in rows:
        if r.choices:
            cells = ", ".join(f"{{{c_string(c)}, {'true' if later else 'false'}}}" for c, later in r.choices)
            out.append(f"static const struct config_choice choices_{r.field}[] = {{{cells}}};")
    out += ["", "const struct config_row config_rows[CONFIG_KEYS] = {"]
    for r in rows:
        env = "".join(c_string(e) + ", " for e in r.env) + "NULL"
        out.append(
            f"    {{.key = {c_string(r.key)}, .type = CONFIG_{r.type.upper()}, .offset = offsetof(struct config, {r.field}),\n"
            f"     .low = {c_int(r.low)}, .high = {c_int(r.high)}, .form = {c_string(r.form)},"
            + (f" .choices = choices_{r.field}, .choices_n = {len(r.choices)}," if r.choices else "") + "\n"
            f"     .preset = {c_string(r.default)}, .env = {{{env}}}, .later = {'true' if r.state == 'later' else 'false'},\n"
            f"     .doc = {c_string(r.doc)}}},")
    out += ["};", ""]
    return "\n".join(out)


def c_int(n):
    return f"INT64_C({n})"


def doc(rows):
    out = ["<!-- Made from schema/config.tbl by tools/genconfig.py. -->", "# Configuration", "",
           "One YAML file (`--config F`). Every key is also a flag: `--gateway.timeoutMs 5000`. A flag wins over the",
           "environment, the environment over the file, the file over a `kafka.json` (`--kafka-config-path F`), and that over",
           "the default. Unknown keys, values out of range and contradictions are refused at the start, with file, line and",
           "what would be accepted. `millrace config` prints the effective value of every key and where it came from.", "",
           "Durations end in `Ms`; sizes are bytes or `64Ki`, `256Mi`, `1Gi`. Short forms of flags: `--data DIR`,",
           "`--kafka-listen H:P`, `--kafka-advertise H:P`, `--infer-listen H:P`, `--bootstrap …`, `--no-broker`, `--broker-only`,",
           "`--allow-unauthenticated`. Environment names in one row are alternatives: set to different values they are refused.",
           "What is marked *later* is known and checked, but belongs to a feature that comes with a later version: asking for it",
           "is refused.", ""]
    section = None
    for r in rows:
        top = r.key.split(".")[0] if "." in r.key else ""
        if top != section:
            section = top
            out += ["", f"## {top or 'general'}", "", "| key | accepts | default | environment | |", "|---|---|---|---|---|"]
        env = "<br>".join(f"`{e}`" for e in r.env)
        later = " *later*" if r.state == "later" else ""
        out.append(f"| `{r.key}` | {r.accepts_text()} | {'`' + r.default + '`' if r.default else ''} | {env} | {r.doc}{later} |"
                   .replace("||", "| |"))
    return "\n".join(out) + "\n"


def main():
    table, header_path, source_path, doc_path = sys.argv[1:]
    rows = read(table)
    for path, text in ((header_path, header(rows)), (source_path, source(rows)), (doc_path, doc(rows))):
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)


main()
