"""Kafka's protocol by hand, on tools/msgcodec.py: requests as dictionaries, answers as dictionaries. For what no client library sends."""

import pathlib
import socket
import struct
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
sys.dont_write_bytecode = True
import msgcodec  # noqa: E402  (the path to it is set above)

CODEC = msgcodec.Codec(ROOT / "schema/kafka")
KEYS = {message.name: key for (kind, key), message in CODEC.messages.items() if kind == "request"}


class Conn:
    def __init__(self, address, client_id="wire"):
        host, port = address.rsplit(":", 1)
        self.socket, self.n, self.client_id = socket.create_connection((host, int(port)), 30), 0, client_id

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
        """Asks `api` (its name in the schema) with these fields; what is left out is its default."""
        self.n += 1
        frame = CODEC.request(KEYS[api], version, values, self.n, self.client_id)
        self.socket.sendall(struct.pack(">i", len(frame)) + frame)
        size = self.receive(4)
        answer = self.receive(struct.unpack(">i", size)[0])
        assert struct.unpack(">i", answer[:4])[0] == self.n, "an answer to another request"
        return CODEC.answer(KEYS[api], version, size + answer)
