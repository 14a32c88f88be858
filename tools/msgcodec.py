# SPDX-License-Identifier: Apache-2.0
"""Kafka messages as Python dicts: encodes and decodes what schema/kafka/*.msg describes. Used by tests that speak to brokers.

A dict holds a field by its name in the schema; a field that is left out is its default. Records and other bytes are hex when
decoded; when encoded they are hex or bytes.
"""
import glob
import struct

import genmsg

FORMATS = {'bool': '>?', 'i8': '>b', 'i16': '>h', 'u16': '>H', 'i32': '>i', 'u32': '>I', 'i64': '>q', 'f64': '>d'}
CRC_TABLE = []
for n in range(256):
    for _ in range(8):
        n = n >> 1 ^ (0x82f63b78 if n & 1 else 0)
    CRC_TABLE.append(n)


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xffffffff


class Short(Exception):
    """The message ends before its fields do."""


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        if n < 0 or self.at + n > len(self.data):
            raise Short()
        self.at += n
        return self.data[self.at - n:self.at]

    def uvarint(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def varint(self):
        n = self.uvarint()
        return n >> 1 ^ -(n & 1)

    def length(self, flex, wide):
        return self.uvarint() - 1 if flex else struct.unpack('>i' if wide else '>h', self.take(4 if wide else 2))[0]


def read_one(r, f, version, message, flex):
    if f.type in FORMATS:
        return struct.unpack(FORMATS[f.type], r.take(struct.calcsize(FORMATS[f.type])))[0]
    if f.type == 'uuid':
        return r.take(16).hex()
    if f.type in genmsg.SIZED:
        n = r.length(flex, f.type != 'str')
        if n < 0:
            return None
        return r.take(n).decode('utf-8', 'replace') if f.type == 'str' else r.take(n).hex()
    if f.null and not f.array and f.null[0] <= version <= f.null[1] and r.take(1)[0] == 255:
        return None
    return read_struct(r, f.struct, version, message)


def read_field(r, f, version, message, flex):
    if not f.array:
        return read_one(r, f, version, message, flex)
    n = r.length(flex, True)
    return None if n < 0 else [read_one(r, f, version, message, flex) for _ in range(n)]


def read_struct(r, s, version, message):
    flex, out, tags = version >= message.flex, {}, {}
    for f in s.fields:
        if f.lo <= version <= f.hi:
            if f.tag is None:
                out[f.name] = read_field(r, f, version, message, flex)
            else:
                tags[f.tag] = f
    if flex:
        for _ in range(r.uvarint()):
            tag, end = r.uvarint(), 0
            end = r.uvarint() + r.at
            if tag in tags:
                out[tags[tag].name] = read_field(r, tags[tag], version, message, True)
            r.at = end
    return out


def uvarint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out) + bytes([n])


def varint(n):
    return uvarint((n << 1 ^ n >> 63) & 0xffffffffffffffff)


def sized(n, flex, wide):
    return uvarint(n + 1) if flex else struct.pack('>i' if wide else '>h', n)


def default_of(f):
    if f.array:
        return None if f.default == 'null' else []
    if f.struct:
        return None if f.null else {}
    if f.default is not None:
        return None if f.default == 'null' else f.default == 'true' if f.type == 'bool' else int(f.default, 0)
    return {'str': '', 'bytes': '', 'records': '', 'uuid': '00' * 16, 'bool': False}.get(f.type, 0)


def write_one(f, x, version, message, flex):
    if f.type in FORMATS:
        return struct.pack(FORMATS[f.type], x)
    if f.type == 'uuid':
        return bytes.fromhex(x)
    if f.type in genmsg.SIZED:
        if x is None:
            return sized(-1, flex, f.type != 'str')
        data = x if isinstance(x, bytes) else x.encode() if f.type == 'str' else bytes.fromhex(x)
        return sized(len(data), flex, f.type != 'str') + data
    mark = b''
    if f.null and not f.array and f.null[0] <= version <= f.null[1]:
        if x is None:
            return b'\xff'
        mark = b'\x01'
    return mark + write_struct(f.struct, x, version, message)


def write_field(f, x, version, message, flex):
    if not f.array:
        return write_one(f, x, version, message, flex)
    if x is None:
        return sized(-1, flex, True)
    return sized(len(x), flex, True) + b''.join(write_one(f, e, version, message, flex) for e in x)


def write_struct(s, x, version, message):
    flex, out, tags = version >= message.flex, [], []
    for f in s.fields:
        if not f.lo <= version <= f.hi:
            continue
        value = x.get(f.name, default_of(f))
        if f.tag is None:
            out.append(write_field(f, value, version, message, flex))
        elif value != default_of(f):
            data = write_field(f, value, version, message, True)
            tags.append((f.tag, uvarint(f.tag) + uvarint(len(data)) + data))
    if flex:
        out.append(uvarint(len(tags)))
        out += [data for _, data in sorted(tags)]
    return b''.join(out)


class Codec:
    def __init__(self, schema):
        self.messages = {}
        for path in glob.glob(f'{schema}/*.msg'):
            for m in genmsg.parse(path):
                if m.kind != 'data':
                    self.messages[m.kind, m.key] = m

    def key_of(self, api):
        return next((k for (kind, k), m in self.messages.items() if kind == 'request' and genmsg.camel(m.name) == api), None)

    def request(self, key, version, body, correlation, client='client'):
        """A request without its four bytes of size."""
        m = self.messages['request', key]
        name = client.encode()
        head = struct.pack('>hhih', key, version, correlation, len(name)) + name + (b'\0' if version >= m.flex else b'')
        return head + write_struct(m, body, version, m)

    def answer(self, key, version, data):
        """The answer in `data`, which starts with four bytes of size."""
        m = self.messages['response', key]
        r = Reader(data[4:])
        r.take(4)
        if key == 18 and not 0 <= version <= m.hi:
            version = 0
        if version >= m.flex and key != 18:
            r.take(1)
        return read_struct(r, m, version, m)
