# SPDX-License-Identifier: Apache-2.0
"""A replication connection: its commands, and WAL in the native structures of the server's machine."""
import re
import select
import struct
import time

from . import recorded, wal
from .session import Session
from .wire import TEXT, Closed, ServerError, complete, data_row, message, read_message, ready, row_description, send

WAL_DATA = struct.Struct("<QQqQQQQB7x")  # start, end of WAL, time, sent, written, flushed, replayed, is it catching up
KEEPALIVE = struct.Struct("<QIIqBB6x")  # end of WAL, role, state, time, is an answer wanted, is it catching up
REPLY = struct.Struct("<QQQQQiiqB3xI")  # received, written, flushed, applied, read, role, state, time, answer?, flags
MOST = 8 << 20
KEEPALIVE_S = 1.0
TICK_S = 0.05
POSTGRES_EPOCH = 946684800
ROLE_PRIMARY, ROLE_STANDBY, STATE_NORMAL = 1, 2, 1

START = re.compile(r'START_REPLICATION\s+(?:SLOT\s+"?(?P<slot>\w+)"?\s+)?(?:PHYSICAL\s+)?(?P<lsn>[0-9A-F]+/[0-9A-F]+)\s*', re.I)
CREATE = re.compile(r'CREATE_REPLICATION_SLOT\s+"?(?P<slot>\w+)"?\s+PHYSICAL\s+(?P<lsn>[0-9A-F]+/[0-9A-F]+)\s*', re.I)
DROP = re.compile(r'DROP_REPLICATION_SLOT\s+"?(?P<slot>\w+)"?\s*', re.I)


def now():
    return int((time.time() - POSTGRES_EPOCH) * 1000000)


def fatal(text, sqlstate="XX000"):
    """Nothing that goes wrong here leaves the connection open."""
    return ServerError(text, sqlstate, severity="FATAL")


class WalSender(Session):
    kind = "replication"

    @property
    def is_on_database(self):
        return self.asked["replication"].lower() == "database"

    def begin(self):
        wanted = self.double.replication_port
        if wanted != "both" and self.port != self.double.port + (wanted == "next"):
            raise fatal("replication connections are not taken at this port", "28000")
        self.greet(key=False)  # as recorded: without a key to cancel with

    def converse(self):
        while True:
            kind, body = read_message(self.sock)
            if kind == b"X":
                return
            if kind == b"Q":
                self.command(body[:-1].decode().strip().rstrip(";"))
            elif kind not in (b"d", b"c", b"f", b"H", b"S"):
                raise fatal(f"invalid frontend message type {kind!r}", "08P01")

    def command(self, text):
        self.double.heard(self, text)
        if text.upper() == "IDENTIFY_SYSTEM":
            database = self.asked.get("database") if self.is_on_database else None
            self.answer(("systemid", "timeline", "xlogpos", "dbname"),
                        (self.double.system_id, self.double.wal.timeline, wal.lsn_text(self.double.position), database))
        elif text.upper() == "IDENTIFY_VERSION":
            self.answer(("sversion", "pversion", "term"), (recorded.SERVER_VERSION_NUM, "MPPDB", 1))
        elif text.upper() == "IDENTIFY_MODE":
            self.answer(("smode",), (1,))
        elif found := START.fullmatch(text):
            self.stream(wal.parse_lsn(found["lsn"]), found["slot"])
        elif found := CREATE.fullmatch(text):
            self.change_slot(self.double.create_slot, found["slot"])
            self.answer(("slot_name", "consistent_point", "snapshot_name", "output_plugin"),
                        (found["slot"], found["lsn"], None, None))
        elif found := DROP.fullmatch(text):
            self.change_slot(self.double.drop_slot, found["slot"])
            send(self.sock, complete("DROP_REPLICATION_SLOT"), ready())
        elif re.match(r"SHOW|SELECT|TIMELINE_HISTORY", text, re.I) and not self.is_on_database:
            raise fatal("not connected to database", "08P01")
        else:
            self.double.unknown.append(text)
            raise fatal("replication command parser returned 1", "42601")

    def answer(self, names, cells):
        send(self.sock, row_description([(name, TEXT) for name in names]), data_row(cells), complete("SELECT"), ready())

    @staticmethod
    def change_slot(change, name):
        try:
            change(name)
        except ServerError as e:
            raise fatal(e.message, e.sqlstate) from None

    # ---- the stream ----------------------------------------------------------------------------

    def stream(self, lsn, slot):
        double = self.double
        if self.is_on_database:
            double.crash()
            raise Closed("START_REPLICATION on a database connection")
        if slot is not None:
            with double.lock:
                if slot not in double.slots:
                    raise fatal(f'replication slot "{slot}" does not exist', "42704")
                if double.slots[slot]["active"]:
                    raise fatal(f'replication slot "{slot}" is already active', "55006")
                double.slots[slot]["active"] = True
        try:
            send(self.sock, message(b"W", struct.pack("!BH", 0, 0)))
            self.keepalive(lsn, wants_answer=False, is_catching_up=True)
            if double.push_configuration:
                self.copy_data(b"m" + bytes(range(64)))
            self.send_all(lsn, slot)
        finally:
            with double.lock:
                if slot in double.slots:
                    double.slots[slot]["active"] = False

    def send_all(self, at, slot):
        spoke = time.monotonic()
        while True:
            at_before = at
            if self.double.stream_is == "alive":
                at = self.send_some(at)
                if at != at_before:
                    spoke = time.monotonic()
                elif time.monotonic() - spoke >= KEEPALIVE_S:
                    self.keepalive(at, wants_answer=True)
                    spoke = time.monotonic()
            if at == at_before:
                with self.double.advanced:
                    if self.double.position <= at or self.double.stream_is != "alive":
                        self.double.advanced.wait(TICK_S)
            while select.select([self.sock], [], [], 0)[0]:
                kind, body = read_message(self.sock)
                if kind == b"X":
                    raise Closed("ended by the client")
                if kind == b"d":
                    self.take_reply(body, slot)
                # 'c', the end of the copy: as measured, there is no answer to it

    def send_some(self, at):
        end = self.double.position
        if at >= end:
            return at
        data = self.double.wal.read(at, min(MOST, end - at))
        if not data:
            raise fatal(f"requested WAL segment {self.double.wal.file_name(at)} has already been removed", "58P01")
        sent = at + len(data)
        self.copy_data(b"w" + WAL_DATA.pack(at, end, now(), sent, 0, 0, 0, sent < end) + data)
        return sent

    def keepalive(self, end, wants_answer, is_catching_up=False):
        role = ROLE_STANDBY if self.double.in_recovery else ROLE_PRIMARY
        self.copy_data(b"k" + KEEPALIVE.pack(end, role, STATE_NORMAL, now(), wants_answer, is_catching_up))

    def copy_data(self, body):
        send(self.sock, message(b"d", body))

    def take_reply(self, body, slot):
        if body[:1] != b"r" or len(body) < 1 + REPLY.size:
            raise fatal("insufficient data left in message", "08P01")
        reply = REPLY.unpack_from(body, 1)
        with self.double.lock:
            self.double.replies.append(reply)
            if slot in self.double.slots and reply[2]:
                self.double.slots[slot]["restart_lsn"] = reply[2]
        if reply[8] and self.double.stream_is == "alive":
            self.keepalive(self.double.position, wants_answer=False)
