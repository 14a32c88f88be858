"""Kafka's protocol by hand, from schema/kafka: requests as dictionaries, answers as dictionaries. For what no client library sends."""

import pathlib
import socket
import struct
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
sys.dont_write_bytecode = True
import genmsg  # noqa: E402

FORMATS = {"bool": ">?", "i8": ">b", "i16": ">h", "u16": ">H", "i32": ">i", "u32": ">I", "i64": ">q", "f64": ">d"}
API_VERSIONS = 18


def uvarint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def length(n, flex, wide):
    """Of a string, of bytes, of an array; None is null."""
    if flex:
        return uvarint(0 if n is None else n + 1)
    return struct.pack(">i" if wide else ">h", -1 if n is None else n)


def default(f):
    if f.array or f.struct or f.type in ("str", "bytes"):
        return None if f.default == "null" else [] if f.array else {} if f.struct else ""
    return bytes(16) if f.type == "uuid" else int(f.default or 0)


def write_one(f, v, version, message, flex):
    if f.type in FORMATS:
        return struct.pack(FORMATS[f.type], v)
    if f.type == "uuid":
        return v
    if f.type in ("str", "bytes"):
        data = v.encode() if isinstance(v, str) else v
        return length(None if v is None else len(data), flex, f.type != "str") + (data or b"")
    if f.null and not f.array:
        return b"\xff" if v is None else b"\1" + write_struct(f.struct, v, version, message)
    return write_struct(f.struct, v, version, message)


def write_struct(s, values, version, message):
    flex, out = version >= message.flex, b""
    for f in s.fields:
        if not f.lo <= version <= f.hi or f.tag is not None:
            continue
        v = values.get(f.name, default(f))
        if f.array:
            out += length(None if v is None else len(v), flex, True)
            out += b"".join(write_one(f, x, version, message, flex) for x in v or [])
        else:
            out += write_one(f, v, version, message, flex)
    return out + (b"\0" if flex else b"")


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        assert 0 <= n <= len(self.data) - self.at, "the answer is too short"
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

    def length(self, flex, wide):
        return self.uvarint() - 1 if flex else struct.unpack(">i" if wide else ">h", self.take(4 if wide else 2))[0]

    def one(self, f, version, message, flex):
        if f.type in FORMATS:
            return struct.unpack(FORMATS[f.type], self.take(struct.calcsize(FORMATS[f.type])))[0]
        if f.type == "uuid":
            return self.take(16)
        if f.type in genmsg.SIZED:
            n = self.length(flex, f.type != "str")
            return None if n < 0 else self.take(n).decode() if f.type == "str" else self.take(n)
        if f.null and not f.array and f.null[0] <= version <= f.null[1] and self.take(1) == b"\xff":
            return None
        return self.struct(f.struct, version, message)

    def field(self, f, version, message, flex):
        if not f.array:
            return self.one(f, version, message, flex)
        n = self.length(flex, True)
        return None if n < 0 else [self.one(f, version, message, flex) for _ in range(n)]

    def struct(self, s, version, message):
        flex = version >= message.flex
        out = {f.name: self.field(f, version, message, flex) for f in s.fields if f.lo <= version <= f.hi and f.tag is None}
        for _ in range(self.uvarint() if flex else 0):
            self.uvarint()
            self.take(self.uvarint())
        return out


MESSAGES = {(m.kind, m.name): m for path in (ROOT / "schema/kafka").glob("*.msg") for m in genmsg.parse(str(path))}


class Conn:
    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.socket, self.n = socket.create_connection((host, int(port)), 30), 0

    def close(self):
        self.socket.close()

    def receive(self, n):
        data = b""
        while len(data) < n:
            more = self.socket.recv(n - len(data))
            assert more, "the broker has closed the connection"
            data += more
        return data

    def ask(self, api, version, **values):
        question, answer = MESSAGES["request", api], MESSAGES["response", api]
        self.n += 1
        head = struct.pack(">hhi", question.key, version, self.n) + length(4, False, False) + b"wire" + (b"\0" if version >= question.flex else b"")
        frame = head + write_struct(question, values, version, question)
        self.socket.sendall(struct.pack(">i", len(frame)) + frame)
        r = Reader(self.receive(struct.unpack(">i", self.receive(4))[0]))
        assert struct.unpack(">i", r.take(4))[0] == self.n
        if version >= answer.flex and question.key != API_VERSIONS:
            r.take(1)
        return r.struct(answer, version, answer)
