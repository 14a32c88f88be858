#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Mistakes in a schema are refused, with the file and the line. Usage: kafka_genmsg_test.py TOOLS_DIR"""
import os
import subprocess
import sys
import tempfile

HEAD = 'data x  versions 0-3  flexible 2+\n'
PAIR = 'request x  key 1  versions 0-1  flexible never\n  a  i8\n\n'
CASES = [  # schema, what the refusal says
    (HEAD + '  a  i99z\n', 'i99z has no fields'),
    (HEAD + '  a  i8  4+\n', ':2: versions 4+ do not lie in 0-3'),
    (HEAD + '  a  i8  3-1\n', ':2: versions 3-1 do not lie in 0-3'),
    (HEAD + '  a  i8  1  2\n', ':2: something is missing after "2"'),
    (HEAD + '  a  i8  null 1+\n', ':2: "null" is not understood'),
    (HEAD + '  a  str  = null\n', ':2: null is the default, but not allowed'),
    (HEAD + '  a  i8\n  a  i16\n', ':3: a second "a"'),
    (HEAD + '    a  i8\n', ':2: indentation'),
    (HEAD + '  a  i8\n    b  i8\n', ':3: indentation'),
    (HEAD + '  A  i8\n', ':2: "A" is not a name'),
    (HEAD + '  a\n', ':2: a field has a name and a type'),
    (HEAD + '  a[]  f64\n', ':2: no arrays of f64'),
    (HEAD + '  a  i8  1+  tag 0\n', 'a tag needs flexible versions'),
    (HEAD + '  a  i8  2+  tag 0\n  b  i8  2+  tag 0\n', 'tag 0 is taken'),
    ('data x  versions 0-3\n', ':1: a data says: flexible versions'),
    ('data x  key 3  versions 0-3  flexible 2+\n', ':1: a data says: flexible versions'),
    ('data x  versions three  flexible 2+\n', ':1: "three" is not a range of versions'),
    (PAIR, 'request and response must come in pairs'),
    (PAIR + 'response x  key 1  versions 0-2  flexible never\n  a  i8\n', 'request and response must come in pairs'),
]


def run(genmsg, text):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'x.msg')
        with open(path, 'w', encoding='utf-8') as f:
            f.write(text)
        return subprocess.run([sys.executable, '-B', genmsg, folder, path], capture_output=True, text=True, check=False)


def main():
    genmsg = os.path.join(sys.argv[1], 'genmsg.py')
    wrong = 0
    for text, says in CASES:
        done = run(genmsg, text)
        if done.returncode != 1 or says not in done.stderr or 'Traceback' in done.stderr:
            wrong += 1
            print(f'{text}-> {done.returncode}, wanted "{says}"\n{done.stderr}')
    good = run(genmsg, HEAD + '  a[]  part?  1+  null 2+\n    b  str?  3+  tag 0  = null\n    c  i8  = -1\n')
    if good.returncode:
        wrong += 1
        print(good.stderr)
    print(f'{len(CASES) + 1} schemas, {wrong} wrong')
    sys.exit(1 if wrong else 0)


main()
