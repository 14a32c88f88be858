#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Turns protoc's descriptor set into C for reflection: gendescriptors.py IN.pb OUT.c

Reads the few fields it needs by itself, so that building needs protoc but no Python packages."""
import sys


def fields(data):
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        tag = varint()
        if tag & 7 == 2:
            n = varint()
            yield tag >> 3, data[at:at + n]
            at += n
        elif tag & 7 == 0:
            yield tag >> 3, varint()
        else:
            at += 8 if tag & 7 == 1 else 4


def text(data, number):
    return next((v.decode() for n, v in fields(data) if n == number), "")


def message_symbols(data, scope):
    name = f"{scope}.{text(data, 1)}"
    yield name
    for number, value in fields(data):
        if number in (2, 8):            # field, oneof
            yield f"{name}.{text(value, 1)}"
        elif number == 3:
            yield from message_symbols(value, name)
        elif number == 4:
            yield from enum_symbols(value, name)


def enum_symbols(data, scope):
    yield f"{scope}.{text(data, 1)}"
    for number, value in fields(data):
        if number == 2:                 # values live beside their enum
            yield f"{scope}.{text(value, 1)}"


def file_symbols(data):
    package = text(data, 2)
    for number, value in fields(data):
        if number == 4:
            yield from message_symbols(value, package)
        elif number == 5:
            yield from enum_symbols(value, package)
        elif number == 6:
            service = f"{package}.{text(value, 1)}"
            yield service
            for n, v in fields(value):
                if n == 2:
                    yield f"{service}.{text(v, 1)}"


def services(data):
    return [f"{text(data, 2)}.{text(v, 1)}" for n, v in fields(data) if n == 6]


def str_list(name, values):
    lines = "".join(f'    {{"{v}", {len(v)}}},\n' for v in values) or "    {0},\n"
    return f"static const struct str {name}[] = {{\n{lines}}};\n"


def main():
    files = [v for n, v in fields(open(sys.argv[1], "rb").read()) if n == 1]
    with open(sys.argv[2], "w") as out:
        out.write('/* Made by tools/gendescriptors.py from schema/oip. */\n#include "oip/service.h"\n\n')
        for i, f in enumerate(files):
            rows = [", ".join(map(str, f[k:k + 24])) for k in range(0, len(f), 24)]
            out.write(f"static const uint8_t file{i}[] = {{\n    " + ",\n    ".join(rows) + "};\n")
            out.write(str_list(f"symbols{i}", list(file_symbols(f))))
            out.write(str_list(f"services{i}", services(f)))
        out.write("static const struct schema_file files[] = {\n")
        for i, f in enumerate(files):
            name = text(f, 1)
            out.write(f'    {{{{"{name}", {len(name)}}}, {{file{i}, sizeof file{i}}}, symbols{i}, {len(list(file_symbols(f)))}, '
                      f"services{i}, {len(services(f))}}},\n")
        out.write("};\n\nsize_t schema_files(const struct schema_file **ret)\n{\n    *ret = files;\n    return countof(files);\n}\n")


main()
