#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tools/genmsg.py - turns schema/kafka/*.msg into C: structs, decoders, encoders, and the tables over them.

The schema language, one field a line, nesting by two spaces of indentation:

    request|response NAME  key N  versions A[-B]  flexible F+|never
    data NAME  versions A[-B]  flexible F+|never
      field[]  type[?]  [VERSIONS]  [null VERSIONS]  [tag N]  [= DEFAULT]

`[]` makes it an array. The type is one of PRIMITIVES or the name of a struct, whose fields are indented below; a struct
named before in the same message is used again by naming it without fields. `?` means it may be null, in the versions after
`null` or in all. VERSIONS is `3`, `3-7` or `3+` and defaults to those of what encloses the field; outside them the field is
not on the wire and decodes to its default. A tagged field travels in the tag buffer, and only when it is not the default.
Defaults: 0, false, empty; `= null` where null is allowed. (The default of a tagged struct that may be null is an empty one.)

Usage: genmsg.py OUTPUT_DIR FILE.msg...   writes NAME.h and NAME.c for each, and all.h and tables.c.
"""
import os
import re
import sys

PRIMITIVES = {  # name: (C type, bytes at least, bytes at least when flexible)
    'bool': ('bool', 1, 1), 'i8': ('int8_t', 1, 1), 'i16': ('int16_t', 2, 2), 'u16': ('uint16_t', 2, 2),
    'i32': ('int32_t', 4, 4), 'u32': ('uint32_t', 4, 4), 'i64': ('int64_t', 8, 8), 'f64': ('double', 8, 8),
    'uuid': ('struct uuid', 16, 16), 'str': ('struct str', 2, 1), 'bytes': ('struct bytes', 4, 1),
    'records': ('struct bytes', 4, 1),
}
SIZED = ('str', 'bytes', 'records')
ARRAYS = ('i8', 'i32', 'i64', 'str')             # primitives that the reader has array functions for
NEVER = 32767


class Bad(Exception):
    pass


class Struct:
    def __init__(self, name, cname, message=None):
        self.name, self.cname, self.fields, self.lo, self.hi = name, cname, [], NEVER, -1
        self.message = message or self

    def widen(self, lo, hi):
        """The versions in which some field of this type is on the wire."""
        self.lo, self.hi = min(self.lo, lo), max(self.hi, hi)
        for f in self.fields:
            first, last = (max(lo, f.lo), min(hi, f.hi)) if f.explicit else (lo, hi)
            if f.struct and first <= last:
                f.struct.widen(first, last)

    def settle(self):
        """Fields without versions have those of their struct, which may be used in several places."""
        for f in self.fields:
            if not f.explicit:
                f.lo, f.hi = self.lo, self.hi
            f.null = f.null if isinstance(f.null, tuple) or not f.null else (f.lo, f.hi)
            if f.tag is not None and f.lo < self.message.flex:
                raise Bad(f'{self.name}: {f.name}: a tag needs flexible versions')
            if f.tag is not None and any(x.tag == f.tag for x in self.fields if x is not f):
                raise Bad(f'{self.name}: {f.name}: tag {f.tag} is taken')


class Field:
    pass


class Message(Struct):
    pass


def camel(name):
    return ''.join(w.capitalize() for w in name.split('_'))


def versions(text, lo, hi):
    m = re.fullmatch(r'(\d+)(?:-(\d+)|(\+))?', text)
    if not m:
        raise Bad(f'"{text}" is not a range of versions')
    first = int(m[1])
    last = int(m[2]) if m[2] else hi if m[3] else first
    if not lo <= first <= last <= hi:
        raise Bad(f'versions {text} do not lie in {lo}-{hi}')
    return first, last


def parse_head(words):
    kind, name, rest = words[0], words[1], words[2:]
    opts = dict(zip(rest[::2], rest[1::2]))
    want = {'versions', 'flexible'} | (set() if kind == 'data' else {'key'})
    if len(rest) % 2 or set(opts) != want:
        raise Bad(f'a {kind} says: {" ".join(sorted(want))}')
    m = Message(name, name if kind == 'data' else f'{name}_{kind}')
    m.kind, m.key = kind, int(opts.get('key', -1))
    m.lo, m.hi = versions(opts['versions'], 0, NEVER - 1)
    m.flex = NEVER if opts['flexible'] == 'never' else versions(opts['flexible'], m.lo, m.hi)[0]
    m.title = {'request': camel(name), 'response': camel(name) + ' response', 'data': name.replace('_', ' ')}[kind]
    m.structs = {}
    m.order = []
    return m


def parse_field(words, m, lo, hi):
    f = Field()
    if len(words) < 2:
        raise Bad('a field has a name and a type')
    f.array = words[0].endswith('[]')
    f.name = words[0].removesuffix('[]')
    f.type = words[1].removesuffix('?')
    f.lo, f.hi, f.tag, f.default, f.struct = lo, hi, None, None, None
    f.null = words[1].endswith('?')              # True: in all versions; a pair: in those
    rest = words[2:]
    f.explicit = bool(rest) and rest[0][0].isdigit()
    if f.explicit:
        f.lo, f.hi = versions(rest.pop(0), lo, hi)
    while rest:
        word = rest.pop(0)
        if not rest:
            raise Bad(f'something is missing after "{word}"')
        value = rest.pop(0)
        if word == 'null' and f.null:
            f.null = versions(value, f.lo, f.hi)
        elif word == 'tag':
            f.tag = int(value)
        elif word == '=':
            f.default = value
        else:
            raise Bad(f'"{word}" is not understood')
    if not re.fullmatch(r'[a-z][a-z0-9_]*', f.name):
        raise Bad(f'"{f.name}" is not a name')
    if f.default == 'null' and not f.null:
        raise Bad('null is the default, but not allowed')
    if f.array and f.type in PRIMITIVES and f.type not in ARRAYS:
        raise Bad(f'no arrays of {f.type}')
    return f


def parse(path):
    messages, stack, m = [], [], None           # stack: [(indentation of its fields, Struct, lo, hi)]
    for number, line in enumerate(open(path, encoding='utf-8'), 1):
        line = line.split('#')[0].rstrip()
        if not line:
            continue
        try:
            words, depth = line.split(), len(line) - len(line.lstrip())
            if depth == 0:
                m = parse_head(words)
                messages.append(m)
                stack = [(2, m, m.lo, m.hi)]
                continue
            while stack and stack[-1][0] > depth:
                stack.pop()
            if not stack or stack[-1][0] != depth:
                raise Bad('indentation')
            _, owner, lo, hi = stack[-1]
            f = parse_field(words, m, lo, hi)
            if any(x.name == f.name for x in owner.fields):
                raise Bad(f'a second "{f.name}"')
            if f.type not in PRIMITIVES:
                known = f.type in m.structs
                if not known:
                    m.structs[f.type] = Struct(f.type, f'{m.cname}_{f.type}', m)
                    stack.append((depth + 2, m.structs[f.type], f.lo, f.hi))
                f.struct = m.structs[f.type]
            owner.fields.append(f)
        except (Bad, ValueError) as e:
            sys.exit(f'{path}:{number}: {e}')
    for m in messages:
        m.widen(m.lo, m.hi)
        place(m, m.order)
        try:
            for s in m.order:
                s.settle()
                if not s.fields and s is not m:
                    raise Bad(f'{s.name} has no fields')
        except Bad as e:
            sys.exit(f'{path}: {m.cname}: {e}')
    return messages


def place(s, order):
    """Structs in the order C wants them: what is held comes before what holds it."""
    for f in s.fields:
        if f.struct and f.struct not in order:
            place(f.struct, order)
    order.append(s)


# ---- sizes and conditions ------------------------------------------------------------------------------------------

def least(s, m, version):
    """The fewest bytes that a struct takes in one version."""
    flex = version >= m.flex
    n = 1 if flex else 0
    for f in s.fields:
        if f.tag is None and f.lo <= version <= f.hi:
            if f.array:
                n += 1 if flex else 4
            elif f.struct:
                n += 1 if f.null else least(f.struct, m, version)
            else:
                n += PRIMITIVES[f.type][2 if flex else 1]
    return n


def least_of_all(s, m):
    n = min(least(s, m, v) for v in range(s.lo, s.hi + 1))
    if n < 1:
        sys.exit(f'{m.cname}: an element of {s.name} could take no bytes at all')
    return n


def within(lo, hi, s):
    """C for "this version is in lo..hi", given that it is one of the struct's; None when it always is."""
    tests = ([f'version >= {lo}'] if lo > s.lo else []) + ([f'version <= {hi}'] if hi < s.hi else [])
    if lo == hi and len(tests) == 2:
        return f'version == {lo}'
    return ' && '.join(tests) or None


def flex_of(s, m):
    if m.flex > s.hi:
        return 'false'
    return 'true' if m.flex <= s.lo else 'flex'


def default_of(f):
    """C for the default of a scalar field."""
    if f.type == 'str':
        return '(struct str){0}' if f.default == 'null' or not f.null else 'STR("")'
    if f.type in ('bytes', 'records'):
        return '(struct bytes){0}' if f.default == 'null' or not f.null else 'bytes_of("", 0)'
    if f.type == 'uuid':
        return '(struct uuid){{0}}'
    if f.type == 'bool':
        return f.default or 'false'
    if f.default in ('-2147483648', '0x7fffffff'):
        return {'-2147483648': 'INT32_MIN', '0x7fffffff': 'INT32_MAX'}[f.default]
    return f.default or '0'


def zero_default(f):
    if f.array:
        return f.default != 'null'
    if f.struct:
        return bool(f.null) or all(zero_default(x) for x in f.struct.fields)      
    return default_of(f) in ('0', 'false', '(struct str){0}', '(struct bytes){0}', '(struct uuid){{0}}')


def empty_default(f):
    """A nullable struct in a tag without `= null`: when it is absent it is there, and empty; null is said in the tag."""
    return f.struct and f.null and not f.array and f.tag is not None and f.default != 'null'


# ---- the header ----------------------------------------------------------------------------------------------------

def emit_struct(s, m, out):
    note = '' if s is m else f'      /* of {m.cname} */'
    out.append(f'struct {s.cname} {{{note}')
    if not s.fields:
        out.append('    char nothing;                    /* the message has no fields */')
    for f in s.fields:
        if f.array:
            ctype = f'struct {f.struct.cname}' if f.struct else PRIMITIVES[f.type][0]
            sep = ' ' if not ctype.endswith('*') else ''
            out.append(f'    {ctype}{sep}*{f.name};')
            out.append(f'    size_t {f.name}_n;')
            if f.null:
                out.append(f'    bool {f.name}_null;')
        elif f.struct:
            out.append(f'    struct {f.struct.cname} {"*" if f.null else ""}{f.name};' + (' /* NULL: null */' if f.null else ''))
        else:
            out.append(f'    {PRIMITIVES[f.type][0]} {f.name};' + ('      /* .p NULL: null */' if f.null else ''))
            if f.type == 'records' and m.kind == 'response':
                out.append(f'    struct wr_file {f.name}_file;      /* instead of {f.name}: see kafka/writer.h */')
    out.append('};\n')


def emit_header(base, messages):
    out = [f'/* Generated from schema/kafka/{base}.msg by tools/genmsg.py. SPDX-License-Identifier: Apache-2.0 */',
           '#pragma once', '#include "kafka/message.h"', '']
    for m in messages:
        out.append(f'/* {m.title}, versions {m.lo} to {m.hi}'
                   + ('' if m.flex == NEVER else f', flexible from {m.flex}') + '. */')
        for s in m.order:
            emit_struct(s, m, out)
        for s in m.order:
            out.append(f'void {s.cname}_init_defaults(struct {s.cname} *m);')
        out.append(f'bool {m.cname}_decode(struct rd *r, int16_t version, struct arena *a, struct {m.cname} *ret) MUST_USE;')
        out.append(f'bool {m.cname}_encode(struct wr *w, int16_t version, const struct {m.cname} *m);')
        out.append(f'extern const struct kafka_message {m.cname}_message;\n')
    return '\n'.join(out) + '\n'


# ---- init ----------------------------------------------------------------------------------------------------------

def emit_init(s, out):
    sets, calls = [], []
    for f in s.fields:
        if zero_default(f):
            continue
        if f.array:
            sets.append(f'.{f.name}_null = true')
        elif f.struct:
            calls.append(f'    {f.struct.cname}_init_defaults(&m->{f.name});')
        else:
            sets.append(f'.{f.name} = {default_of(f)}')
    out.append(f'void {s.cname}_init_defaults(struct {s.cname} *m)\n{{')
    out.append(f'    *m = (struct {s.cname}){{{", ".join(sets) or "0"}}};')
    out += calls + ['}\n']


# ---- decode --------------------------------------------------------------------------------------------------------

def read_scalar(f, flex, s):
    if f.type not in SIZED:
        return f'rd_{f.type}(r)'
    kind = 'str' if f.type == 'str' else 'bytes'
    plain, null = f'rd_{kind}(r, {flex}, "{f.name}")', f'rd_{kind}_null(r, {flex}, "{f.name}")'
    if not f.null:
        return plain
    where = within(*f.null, s)
    if f.null == (f.lo, f.hi) or not where:
        return null
    return f'{where} ? {null}\n            : {plain}'


def read_field(f, m, s, flex):
    """The statements that read one field which is on the wire."""
    x = f'm->{f.name}'
    if f.array and not f.struct:
        if f.null and f.null != (f.lo, f.hi):
            sys.exit(f'{m.cname}: {f.name}: arrays of primitives are null in all versions or none')
        if f.null:
            return [f'{x} = rd_{f.type}s_null(r, {flex}, a, &{x}_n, &{x}_null, "{f.name}");']
        return [f'{x} = rd_{f.type}s(r, {flex}, a, &{x}_n, "{f.name}");']
    if f.array:
        n = least_of_all(f.struct, m)
        plain = f'{x}_n = rd_count(r, {flex}, {n}, "{f.name}");'
        null = f'{x}_n = rd_count_null(r, {flex}, {n}, "{f.name}", &{x}_null);'
        where = within(*f.null, s) if f.null else None
        if not f.null:
            lines = [plain]
        elif f.null == (f.lo, f.hi) or not where:
            lines = [null]
        else:
            lines = [f'if ({where}) {null}', f'else {plain}']
        return lines + [
            f'{x} = rd_room(r, a, &{x}_n, sizeof *{x}, "{f.name}");',
            f'for (size_t i = 0; i < {x}_n; i++) {{',
            f'    {f.struct.name}_decode(r, version, a, &{x}[i]);',
            '    if (r->why) {', f'        rd_in(r, "{f.name}", i);', '        return;', '    }', '}']
    if f.struct and f.null:
        there = 'rd_uvarint(r) > 0' if f.tag is not None else 'rd_i8(r) >= 0'
        return [f'if ({there} && !r->why) {{',
                '    size_t one = 1;', '',
                f'    {x} = rd_room(r, a, &one, sizeof *{x}, "{f.name}");',
                f'    if ({x}) {f.struct.name}_decode(r, version, a, {x});',
                f'    if (r->why) rd_in(r, "{f.name}", SIZE_MAX);', '}']
    if f.struct:
        return ['if (!r->why) {', f'    {f.struct.name}_decode(r, version, a, &{x});',
                f'    if (r->why) rd_in(r, "{f.name}", SIZE_MAX);', '}']
    return [f'{x} = {read_scalar(f, flex, s)};']


def indent(lines, n=1):
    return ['    ' * n + x if x else '' for x in lines]


def absent(f):
    """The statements that give a field which is not on the wire its default (structs are zeroed before: arrays need none)."""
    if f.array:
        return [f'm->{f.name}_null = true;'] if f.default == 'null' else []
    if f.struct:
        return [] if zero_default(f) else [f'{f.struct.cname}_init_defaults(&m->{f.name});']
    return [f'm->{f.name} = {default_of(f)};']


def emit_decode(s, m, out):
    flex = flex_of(s, m)
    body = []
    for f in s.fields:
        if f.tag is not None:
            continue
        where = within(f.lo, f.hi, s)
        lines = read_field(f, m, s, flex)
        if not where:
            body += lines
        elif not f.array and not f.struct and '?' not in lines[0]:
            body += [f'm->{f.name} = {where} ? {read_scalar(f, flex, s)} : {default_of(f)};']
        else:
            other = absent(f)
            body += [f'if ({where}) {{'] + indent(lines) + (['} else {'] + indent(other) if other else []) + ['}']
    body += read_tags(s, m, flex)
    text = '\n'.join(body)
    out.append(f'static void {local(s)}_decode(struct rd *r, int16_t version, struct arena *a, struct {s.cname} *m)\n{{')
    if re.search(r'\bflex\b', text):
        out.append(f'    const bool flex = version >= {m.flex};\n')
    unused = [v for v in ('version', 'a', 'm') if not re.search(rf'\b{v}\b', text) and not ('flex' in text and v == 'version')]
    out += [f'    (void){v};' for v in unused]
    out += indent(body) + ['}\n']


def local(s):
    return 'top' if isinstance(s, Message) else s.name


def read_tags(s, m, flex):
    tagged = [f for f in s.fields if f.tag is not None]
    if flex == 'false':
        return []
    if not tagged:
        return ['rd_tags_skip(r);'] if flex == 'true' else ['if (flex) rd_tags_skip(r);']
    cases = []
    lines = []
    for f in tagged:
        if not zero_default(f):
            lines += absent(f)
        elif empty_default(f):
            lines += ['size_t empty = 1;', '', f'm->{f.name} = rd_room(r, a, &empty, sizeof *m->{f.name}, "{f.name}");']
        where = within(max(f.lo, m.flex), f.hi, s)
        read = ([f'm->{f.name} = NULL;'] if empty_default(f) else []) + read_field(f, m, s, 'true')
        cases += [f'case {f.tag}:'] + indent([f'if ({where}) {{'] + indent(read) + ['}'] if where else read) + ['    break;']
    count = 'rd_uvarint(r)' if flex == 'true' else 'flex ? rd_uvarint(r) : 0'
    return lines + ['{', '    const uint8_t *end;', f'    uint32_t n = {count}, tag;', '',
                    '    for (; n && rd_tag_open(r, &tag, &end); n--) {', '        switch (tag) {'] \
        + indent(cases, 2) + ['        }', '        rd_tag_close(r, end);', '    }', '}']


# ---- encode --------------------------------------------------------------------------------------------------------

def write_field(f, m, s, flex):
    x = f'm->{f.name}'
    null_where = within(*f.null, s) if f.null and f.null != (f.lo, f.hi) else None
    if f.array:
        if f.struct:
            lines = [f'if (wr_count(w, {flex}, {x}_n))',
                     f'    for (size_t i = 0; i < {x}_n; i++) {f.struct.name}_encode(w, version, &{x}[i]);']
        else:
            lines = [f'wr_{f.type}s(w, {flex}, {x}, {x}_n);']
        if not f.null:
            return lines
        test = f'{x}_null' + (f' && {null_where}' if null_where else '')
        return [f'if ({test}) {{', f'    wr_null(w, {flex});', '} else {'] + indent(lines) + ['}']
    if f.struct and f.null:
        return [f'wr_uvarint(w, {x} ? 1 : 0);' if f.tag is not None else f'wr_i8(w, {x} ? 1 : -1);', f'if ({x}) {f.struct.name}_encode(w, version, {x});']
    if f.struct:
        return [f'{f.struct.name}_encode(w, version, &{x});']
    if f.type == 'records' and m.kind == 'response':
        return [f'wr_records(w, {flex}, {x}, {x}_file);']
    if f.type in SIZED:
        kind = 'str' if f.type == 'str' else 'bytes'
        plain, null = f'wr_{kind}(w, {flex}, {x});', f'wr_{kind}_null(w, {flex}, {x});'
        if not f.null:
            return [plain]
        return [f'if ({null_where}) {null}', f'else {plain}'] if null_where else [null]
    return [f'wr_{f.type}(w, {x});']


def differs(f, x):
    """C for "the field is not its default"."""
    if f.array:
        return f'({x}_n || {x}_null)' if f.null and f.default != 'null' else f'!{x}_null' if f.null else f'{x}_n != 0'
    if empty_default(f):
        return f'(!{x} || ' + ' || '.join(differs(y, f'{x}->{y.name}') for y in f.struct.fields) + ')'
    if f.struct and f.null:
        return f'{x} != NULL'
    if f.struct:
        return '(' + ' || '.join(differs(y, f'{x}.{y.name}') for y in f.struct.fields) + ')'
    if f.type == 'uuid':
        return f'!uuid_is_zero(&{x})'
    if f.type in SIZED:
        return f'{x}.p != NULL' if f.default == 'null' else f'{x}.n != 0'
    if f.type == 'bool':
        return f'{"!" if f.default == "true" else ""}{x}'
    return f'{x} != {default_of(f)}'


def emit_encode(s, m, out):
    flex = flex_of(s, m)
    body = []
    for f in s.fields:
        if f.tag is not None:
            continue
        where = within(f.lo, f.hi, s)
        lines = write_field(f, m, s, flex)
        if not where:
            body += lines
        elif len(lines) == 1:
            body += [f'if ({where}) {lines[0]}']
        else:
            body += [f'if ({where}) {{'] + indent(lines) + ['}']
    body += write_tags(s, m, flex)
    text = '\n'.join(body)
    out.append(f'static void {local(s)}_encode(struct wr *w, int16_t version, const struct {s.cname} *m)\n{{')
    if re.search(r'\bflex\b', text):
        out.append(f'    const bool flex = version >= {m.flex};\n')
    unused = [v for v in ('w', 'version', 'm') if not re.search(rf'\b{v}\b', text) and not ('flex' in text and v == 'version')]
    out += [f'    (void){v};' for v in unused]
    out += indent(body) + ['}\n']


def write_tags(s, m, flex):
    tagged = sorted((f for f in s.fields if f.tag is not None), key=lambda f: f.tag)
    if flex == 'false':
        return []
    if not tagged:
        return ['wr_uvarint(w, 0);'] if flex == 'true' else ['if (flex) wr_uvarint(w, 0);']
    lines = []
    for f in tagged:
        where = within(max(f.lo, m.flex), f.hi, s)
        lines.append(f'const bool has_{f.tag} = ' + (f'{where} && ' if where else '') + differs(f, f'm->{f.name}') + ';')
    lines += ['size_t at;', '', 'wr_uvarint(w, ' + ' + '.join(f'(uint32_t)has_{f.tag}' for f in tagged) + ');']
    for f in tagged:
        lines += [f'if (has_{f.tag}) {{', f'    at = wr_tag_open(w, {f.tag});'] + indent(write_field(f, m, s, 'true')) \
            + ['    wr_tag_close(w, at);', '}']
    return ['{' if flex == 'true' else 'if (flex) {'] + indent(lines) + ['}']


# ---- one file ------------------------------------------------------------------------------------------------------

def emit_message(m, out):
    has_throttle = m.kind == 'response' and any(f.name == 'throttle_time_ms' for f in m.fields)
    throttle = f'offsetof(struct {m.cname}, throttle_time_ms)' if has_throttle else 'SIZE_MAX'
    for s in m.order:
        emit_init(s, out)
        emit_decode(s, m, out)
        emit_encode(s, m, out)
    out.append(f'''bool {m.cname}_decode(struct rd *r, int16_t version, struct arena *a, struct {m.cname} *ret)
{{
    rd_message(r, "{m.title}", version, {m.lo}, {m.hi});
    *ret = (struct {m.cname}){{0}};
    if (!r->why) top_decode(r, version, a, ret);
    return r->why == RD_OK;
}}

bool {m.cname}_encode(struct wr *w, int16_t version, const struct {m.cname} *m)
{{
    must(version >= {m.lo} && version <= {m.hi});
    top_encode(w, version, m);
    return !w->failed;
}}

static bool decode_any(struct rd *r, int16_t version, struct arena *a, void *ret)
{{
    return {m.cname}_decode(r, version, a, ret);
}}

static bool encode_any(struct wr *w, int16_t version, const void *m)
{{
    return {m.cname}_encode(w, version, m);
}}

static void init_any(void *m)
{{
    {m.cname}_init_defaults(m);
}}

const struct kafka_message {m.cname}_message = {{
    "{m.title}", KAFKA_MESSAGE_{m.kind.upper()}, {m.key}, {m.lo}, {m.hi}, {'KAFKA_NEVER_FLEXIBLE' if m.flex == NEVER else m.flex},
    sizeof(struct {m.cname}), {throttle}, init_any, decode_any, encode_any,
}};
''')


def qualify(text, m):
    """Static functions are written with short names and get the message's name in front, so that two messages share a file."""
    names = {local(s) for s in m.order}
    for n in sorted(names, key=len, reverse=True):
        text = re.sub(rf'\b{n}_(decode|encode)\(', rf'{m.cname}__{n}_\1(', text)
    return re.sub(r'\b(decode|encode|init)_any\b', rf'{m.cname}__\1_any', text)


def emit_source(base, messages):
    out = [f'/* Generated from schema/kafka/{base}.msg by tools/genmsg.py. SPDX-License-Identifier: Apache-2.0 */',
           f'#include "kafka/msg/{base}.h"', '']
    for m in messages:
        part = []
        emit_message(m, part)
        out.append(qualify('\n'.join(part), m))
    return '\n'.join(out)


def emit_tables(everything):
    out = ['/* Generated from schema/kafka by tools/genmsg.py. SPDX-License-Identifier: Apache-2.0 */',
           '#include "kafka/msg/all.h"', '', 'const struct kafka_api kafka_api_table[KAFKA_API_KEY_MAX + 1] = {']
    requests = {m.key: m for m in everything if m.kind == 'request'}
    for key, m in sorted(requests.items()):
        flex = 'KAFKA_NEVER_FLEXIBLE' if m.flex == NEVER else m.flex
        out.append(f'    [KAFKA_{m.name.upper()}] = {{"{m.title}", {key}, {m.lo}, {m.hi}, {flex}}},')
    out += ['};', '']
    out += [f'_Static_assert(KAFKA_{m.name.upper()} == {k}, "kafka/api.h and the schema agree");' for k, m in sorted(requests.items())]
    out += ['', 'const struct kafka_message *const kafka_messages[] = {']
    out += [f'    &{m.cname}_message,' for m in everything]
    out += ['};', 'const size_t kafka_messages_n = countof(kafka_messages);', '']
    return '\n'.join(out)


def check_pairs(everything):
    kinds = {}
    for m in everything:
        if m.kind != 'data':
            kinds.setdefault(m.key, {})[m.kind] = m
    for key, pair in kinds.items():
        q, a = pair.get('request'), pair.get('response')
        if not q or not a or (q.name, q.lo, q.hi, q.flex) != (a.name, a.lo, a.hi, a.flex):
            sys.exit(f'key {key}: request and response must come in pairs, with the same name and versions')


def write(path, text):
    if os.path.exists(path) and open(path, encoding='utf-8').read() == text:
        return
    with open(path, 'w', encoding='utf-8') as f:
        f.write(text)


def main():
    folder, everything, bases = sys.argv[1], [], []
    for path in sys.argv[2:]:
        base = os.path.basename(path).removesuffix('.msg')
        messages = parse(path)
        bases.append(base)
        everything += messages
        write(f'{folder}/{base}.h', emit_header(base, messages))
        write(f'{folder}/{base}.c', emit_source(base, messages))
    check_pairs(everything)
    write(f'{folder}/all.h', '/* Generated by tools/genmsg.py: every message. SPDX-License-Identifier: Apache-2.0 */\n#pragma once\n'
          + ''.join(f'#include "kafka/msg/{b}.h"\n' for b in bases))
    write(f'{folder}/tables.c', emit_tables(everything))


if __name__ == "__main__":
    main()
