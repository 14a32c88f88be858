# SPDX-License-Identifier: Apache-2.0
"""Record batches: built from a description, with whatever is wrong with them said in it, and read back.

A description is a dict: records [[key, value, ms after the run's start, headers]], pid, epoch, seq, and optionally
codec 0-4, control, transactional, log_append; to spoil it: base_offset, magic, crc (added to it), count, last_delta and
length (added), leader_epoch, attributes (xored), cut (bytes off the end), tail (hex behind it), raw_records (hex).
"""
import gzip
import struct
import zlib

from msgcodec import crc32c, uvarint, varint

HEAD = struct.Struct('>qiibIhiqqqhii')


def field(data):
    return varint(-1) if data is None else varint(len(data)) + data.encode()


def record(n, row, start):
    key, value, at, headers = row
    body = b'\0' + varint(at - start) + varint(n) + field(key) + field(value) + varint(len(headers))
    body += b''.join(field(k) + field(v) for k, v in headers)
    return varint(len(body)) + body


def stored(codec, data):
    """`data` as the codec would write it; all but gzip without making it smaller, so that no library is needed."""
    if codec == 1:
        return gzip.compress(data, mtime=0)
    if codec == 2:
        out = uvarint(len(data))
        for at in range(0, len(data), 60):
            part = data[at:at + 60]
            out += bytes([(len(part) - 1) << 2]) + part
        return out
    if codec == 3:
        blocks = b''.join(struct.pack('<I', len(p) | 0x80000000) + p for p in [data[i:i + 65536] for i in range(0, len(data), 65536)])
        head = b'\x60\x40'
        return b'\x04\x22\x4d\x18' + head + bytes([xxh32(head) >> 8 & 255]) + blocks + b'\0\0\0\0'
    if codec == 4:
        out = b'\x28\xb5\x2f\xfd\xa0' + struct.pack('<I', len(data))
        parts = [data[i:i + 65536] for i in range(0, len(data), 65536)] or [b'']
        for i, p in enumerate(parts):
            out += ((len(p) << 3) | (i == len(parts) - 1)).to_bytes(3, 'little') + p
        return out
    return data


def xxh32(data):
    """For less than sixteen bytes: an LZ4 frame's header has a byte of it."""
    h = (0x165667B1 + len(data)) & 0xffffffff
    while len(data) >= 4:
        h = (h + struct.unpack('<I', data[:4])[0] * 0xC2B2AE3D) & 0xffffffff
        h = ((h << 17 | h >> 15) * 0x27D4EB2F) & 0xffffffff
        data = data[4:]
    for byte in data:
        h = (h + byte * 0x165667B1) & 0xffffffff
        h = ((h << 11 | h >> 21) * 0x9E3779B1) & 0xffffffff
    h = ((h ^ h >> 15) * 0x85EBCA77) & 0xffffffff
    h = ((h ^ h >> 13) * 0xC2B2AE3D) & 0xffffffff
    return h ^ h >> 16


def build(d, epoch_ms):
    epoch_ms = d.get('epoch_ms', epoch_ms)
    rows = [[*r, *[None, None, 0, []][len(r):]] for r in d.get('records', [['k', 'v']])]
    times = [epoch_ms + r[2] for r in rows] or [epoch_ms]
    data = b''.join(record(n, [r[0], r[1], epoch_ms + r[2], r[3]], times[0]) for n, r in enumerate(rows))
    if 'raw_records' in d:
        data = bytes.fromhex(d['raw_records'])
    codec = d.get('codec', 0)
    data = stored(codec, data)
    attributes = (codec | (8 if d.get('log_append') else 0) | (16 if d.get('transactional') else 0) | (32 if d.get('control') else 0)) ^ d.get('attributes', 0)
    tail = struct.pack('>hiqqqhii', attributes, len(rows) - 1 + d.get('last_delta', 0), times[0], max(times), d.get('pid', -1), d.get('epoch', -1),
                       d.get('seq', -1), len(rows) + d.get('count', 0)) + data
    length = 9 + len(tail) + d.get('length', 0)
    out = struct.pack('>qiibI', d.get('base_offset', 0), length, d.get('leader_epoch', -1), d.get('magic', 2), crc32c(tail) + d.get('crc', 0) & 0xffffffff) + tail
    out = out[:len(out) - d.get('cut', 0)] + bytes.fromhex(d.get('tail', ''))
    return out


def inflated(codec, data):
    try:
        return zlib.decompress(data, 31) if codec == 1 else data
    except zlib.error:
        return data


def read(data):
    """What stands in an answer's records, one dict a batch; a cut batch at the end is left out."""
    out, at = [], 0
    while at + 61 <= len(data):
        base, length, _, magic, crc, attributes, last, first_ms, max_ms, pid, epoch, seq, count = HEAD.unpack(data[at:at + 61])
        end = at + 12 + length
        if length < 49 or end > len(data):
            break
        body = inflated(attributes & 7, data[at + 61:end])
        good = magic == 2 and crc == crc32c(data[at + 21:end])
        row = {'base_offset': base, 'magic': magic, 'crc_fits': good, 'attributes': attributes, 'last_offset_delta': last,
               'first_timestamp': first_ms, 'max_timestamp': max_ms, 'producer_id': pid, 'producer_epoch': epoch, 'base_sequence': seq, 'count': count}
        # A marker's records are the broker's own: version, type, coordinator epoch.
        row['body'] = body.hex()
        out.append(row)
        at = end
    return out


