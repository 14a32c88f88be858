#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the table of powers of ten behind src/oip/number.c: for every exponent the leading 128 bits, rounded up."""
import sys

FIRST, LAST = -342, 324


def leading128(k):
    if k >= 0:
        v = 10 ** k
        shift = v.bit_length() - 128
        return v << -shift if shift <= 0 else -(-v >> shift)
    d = 10 ** -k
    shift = 127 + d.bit_length()
    v = -(-(1 << shift) // d)
    return -(-v >> 1) if v.bit_length() > 128 else v


with open(sys.argv[1], "w") as out:
    out.write("/* Made by tools/genpow10.py. */\n")
    out.write(f"enum {{ POW10_FIRST = {FIRST}, POW10_LAST = {LAST} }};\n")
    out.write("static const struct { uint64_t hi, lo; } pow10_table[] = {\n")
    for k in range(FIRST, LAST + 1):
        v = leading128(k)
        assert v.bit_length() == 128
        out.write(f"    {{0x{v >> 64:016x}, 0x{v & (1 << 64) - 1:016x}}}, /* {k} */\n")
    out.write("};\n")
