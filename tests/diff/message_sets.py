# SPDX-License-Identifier: Apache-2.0
"""Message sets of formats 0 and 1, the formats before record batches: read back from answers to old clients, and built.

A description is a dict: magic 0 or 1, messages [[key, value, ms after the run's start]], and optionally codec 0-3, log_append.
"""
import gzip
import struct
import zlib

import batches

FRAME = b'\x04\x22\x4d\x18'


def put(data):
    data = data.encode() if isinstance(data, str) else data
    return struct.pack('>i', -1) if data is None else struct.pack('>i', len(data)) + data


def message(magic, offset, attributes, at, key, value):
    body = bytes([magic, attributes]) + (struct.pack('>q', at) if magic else b'') + put(key) + put(value)
    return struct.pack('>qiI', offset, len(body) + 4, zlib.crc32(body)) + body


def build(d, start_ms):
    magic, codec, rows = d['magic'], d.get('codec', 0), [[*r, 0][:3] for r in d['messages']]
    mark = 8 if d.get('log_append') else 0
    plain = b''.join(message(magic, n, 0 if codec else mark, start_ms + at, k, v) for n, (k, v, at) in enumerate(rows))
    if not codec:
        return plain
    packed = bytearray(batches.stored(codec, plain))
    if codec == 3 and magic == 0:                # the mistake of 0.8: the frame's magic is counted in
        packed[6] = batches.xxh32(bytes(packed[:6])) >> 8 & 255
    return message(magic, len(rows) - 1, codec | mark, start_ms + max(at for *_, at in rows), None, bytes(packed))


def copied(out, distance, n):
    for _ in range(n):
        out.append(out[-distance])


def unsnappy_block(data):
    at = shift = size = 0
    while True:
        byte, at = data[at], at + 1
        size |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            break
    out = bytearray()
    while at < len(data):
        tag, at = data[at], at + 1
        kind, n = tag & 3, tag >> 2
        if kind == 0:
            if n >= 60:
                more = n - 59
                n, at = int.from_bytes(data[at:at + more], 'little'), at + more
            out += data[at:at + n + 1]
            at += n + 1
        elif kind == 1:
            copied(out, (tag >> 5) << 8 | data[at], (n & 7) + 4)
            at += 1
        else:
            width = 2 if kind == 2 else 4
            copied(out, int.from_bytes(data[at:at + width], 'little'), n + 1)
            at += width
    assert len(out) == size
    return bytes(out)


def unsnappy(data):
    if data[:8] != b'\x82SNAPPY\0':
        return unsnappy_block(data)
    out, at = b'', 16
    while at < len(data):
        n = struct.unpack('>i', data[at:at + 4])[0]
        out += unsnappy_block(data[at + 4:at + 4 + n])
        at += 4 + n
    return out


def unlz4_block(data, out):
    at = 0

    def length(n):
        nonlocal at
        if n == 15:
            while True:
                n, at = n + data[at], at + 1
                if data[at - 1] != 255:
                    break
        return n

    while at < len(data):
        token, at = data[at], at + 1
        n = length(token >> 4)
        out += data[at:at + n]
        at += n
        if at < len(data):
            distance, at = int.from_bytes(data[at:at + 2], 'little'), at + 2
            copied(out, distance, length(token & 15) + 4)


def unlz4(data):
    assert data[:4] == FRAME
    flags, at = data[4], 7 + (8 if data[4] & 8 else 0)
    out = bytearray()
    while n := int.from_bytes(data[at:at + 4], 'little'):
        part = data[at + 4:at + 4 + (n & 0x7fffffff)]
        if n >> 31:
            out += part
        else:
            unlz4_block(part, out)
        at += 4 + len(part) + (4 if flags & 16 else 0)
    return bytes(out)


def lz4_checksum(data):
    """Whose checksum stands in the frame's header: the format's, or the mistake of 0.8."""
    end = 6 + (8 if data[4] & 8 else 0)
    return {batches.xxh32(data[4:end]) >> 8 & 255: 'right', batches.xxh32(data[:end]) >> 8 & 255: 'as in 0.8'}.get(data[end], 'neither')


UNPACK = {1: gzip.decompress, 2: unsnappy, 3: unlz4}


def text(data):
    return None if data is None else data.hex()


def is_set(data):
    return len(data) > 16 and data[16] < 2


def read(data):
    """One dict a message; what is cut off at the end is left out, but where there is nothing else: {'cut': …}."""
    out, at = [], 0
    while at + 12 <= len(data):
        offset, size = struct.unpack('>qi', data[at:at + 12])
        if size < 14 or at + 12 + size > len(data):
            break
        body, crc = data[at + 16:at + 12 + size], struct.unpack('>I', data[at + 12:at + 16])[0]
        magic, attributes, field = body[0], body[1], 10 if body[0] else 2
        fields = []
        for _ in range(2):
            n = struct.unpack('>i', body[field:field + 4])[0]
            fields.append(None if n < 0 else body[field + 4:field + 4 + n])
            field += 4 + max(n, 0)
        row = {'base_offset': offset, 'magic': magic, 'attributes': attributes, 'crc_fits': crc == zlib.crc32(body), 'key': text(fields[0])}
        if magic:
            row['timestamp'] = struct.unpack('>q', body[2:10])[0]
        codec = attributes & 7
        row['value'] = read(UNPACK[codec](fields[1])) if codec else text(fields[1])
        if codec == 3:
            row['lz4_checksum'] = lz4_checksum(fields[1])
        out.append(row)
        at += 12 + size
    return out or ([{'cut': True}] if data else [])
