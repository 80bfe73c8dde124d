# SPDX-License-Identifier: Apache-2.0
"""Protocol 3.0 as a server speaks it: messages in, messages out."""
import struct

CANCEL_REQUEST, SSL_REQUEST, GSS_REQUEST = 80877102, 80877103, 80877104
LONGEST_STARTUP = 10000
LONGEST_MESSAGE = 1 << 20
BOOL, TEXT = 16, 25


class ServerError(Exception):
    """What the server answers with; FATAL ends the connection too."""

    def __init__(self, message, sqlstate="XX000", hint=None, severity="ERROR"):
        super().__init__(message)
        self.message, self.sqlstate, self.hint, self.severity = message, sqlstate, hint, severity


class Closed(Exception):
    """The other side, or the double itself, has ended the connection."""


def receive(sock, n):
    data = bytearray()
    while len(data) < n:
        try:
            part = sock.recv(n - len(data))
        except OSError as e:
            raise Closed(str(e)) from None
        if not part:
            raise Closed("closed by the client")
        data += part
    return bytes(data)


def send(sock, *messages):
    try:
        sock.sendall(b"".join(messages))
    except OSError as e:
        raise Closed(str(e)) from None


def read_message(sock):
    """(type, body) of the next message behind the startup."""
    head = receive(sock, 5)
    length = struct.unpack("!I", head[1:])[0]
    if not 4 <= length <= LONGEST_MESSAGE:
        raise Closed(f"a message of {length} bytes")
    return head[:1], receive(sock, length - 4)


def read_startup(sock):
    """(code, body) of a first message, which has no type."""
    length = struct.unpack("!I", receive(sock, 4))[0]
    if not 8 <= length <= LONGEST_STARTUP:
        raise Closed(f"a startup message of {length} bytes")
    body = receive(sock, length - 4)
    return struct.unpack("!I", body[:4])[0], body[4:]


def message(kind, body=b""):
    return kind + struct.pack("!I", len(body) + 4) + body


def text(value):
    return str(value).encode() + b"\0"


def authentication(code, data=b""):
    return message(b"R", struct.pack("!I", code) + data)


def parameter(name, value):
    return message(b"S", text(name) + text(value))


def ready(in_transaction=False):
    return message(b"Z", b"T" if in_transaction else b"I")


def complete(tag):
    return message(b"C", text(tag))


def row_description(columns):
    """columns: (name, type OID)."""
    body = struct.pack("!H", len(columns))
    for name, oid in columns:
        body += text(name) + struct.pack("!IHIhiH", 0, 0, oid, 1 if oid == BOOL else -1, -1, 0)
    return message(b"T", body)


def data_row(cells):
    body = struct.pack("!H", len(cells))
    for cell in cells:
        if cell is None:
            body += struct.pack("!i", -1)
        else:
            value = cell if isinstance(cell, bytes) else str(cell).encode()
            body += struct.pack("!i", len(value)) + value
    return message(b"D", body)


def error(e):
    fields = [(b"S", e.severity), (b"C", e.sqlstate), (b"M", e.message)] + ([(b"H", e.hint)] if e.hint else [])
    return message(b"E", b"".join(key + text(value) for key, value in fields) + b"\0")


def notice(severity, sqlstate, what):
    return message(b"N", b"".join(
        key + text(value) for key, value in ((b"S", severity), (b"C", sqlstate), (b"M", what))) + b"\0")


def take_text(body, at):
    """A text that ends with a zero byte: (it, where the next thing begins)."""
    end = body.index(b"\0", at)
    return body[at:end].decode(), end + 1


def take_parameters(body, at):
    """The values of a Bind message from its format codes on."""
    n_formats = struct.unpack_from("!H", body, at)[0]
    formats = struct.unpack_from(f"!{n_formats}H", body, at + 2)
    if any(formats):
        raise ServerError("the double takes parameters as text only", "0A000")
    at += 2 + 2 * n_formats
    n_values = struct.unpack_from("!H", body, at)[0]
    at += 2
    values = []
    for _ in range(n_values):
        length = struct.unpack_from("!i", body, at)[0]
        at += 4
        values.append(None if length < 0 else body[at:at + length].decode())
        at += max(length, 0)
    return values
