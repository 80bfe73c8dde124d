# SPDX-License-Identifier: Apache-2.0
"""A connection: its start, and the SQL session that follows."""
import datetime
import hashlib
import itertools
import re
import secrets
import select
import socket
import struct
import threading
import time

from . import recorded, wal
from .sql import Database
from .wire import (TEXT, Closed, ServerError, authentication, complete, data_row, error, message, notice, parameter,
                   read_message, ready, row_description, send, take_parameters, take_text)

_pids = itertools.count(4001)
TICK_MS = 20
SASL_SHA256, SASL_MD5_SHA256, MD5 = 10, 11, 5


def now_text():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f+00")


def epoch(stamp):
    for form in ("%Y-%m-%d %H:%M:%S.%f%z", "%Y-%m-%d %H:%M:%S%z"):
        try:
            return datetime.datetime.strptime(stamp + "00", form).timestamp()
        except ValueError:
            continue
    raise ServerError(f"invalid input syntax for type timestamp: \"{stamp}\"", "22007")


class Session:
    """What SQL and replication connections have in common."""

    kind = ""
    default_database = "postgres"

    def __init__(self, double, sock, protocol, asked, port):
        self.double, self.sock, self.protocol, self.asked, self.port = double, sock, protocol, asked, port
        self.pid, self.secret = next(_pids), secrets.randbits(31)
        self.name = f"{self.kind} {self.pid}"
        self.cancelled = threading.Event()

    def drop(self):
        """Ends this connection without a word; by any thread."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def end_with(self, e):
        try:
            send(self.sock, error(e))
        except Closed:
            pass
        self.drop()

    def pause(self, seconds):
        """The answer takes so long, or (None) for ever; not longer than the client stays, nor than until it is released.
        A pause that ends can be cancelled."""
        until = None if seconds is None else time.monotonic() + seconds
        end_of_client = select.poll()
        end_of_client.register(self.sock, select.POLLRDHUP)
        while not self.double.released.is_set() and (until is None or time.monotonic() < until):
            if end_of_client.poll(TICK_MS):
                raise Closed("closed by the client while it waited")
            if until is not None and self.cancelled.is_set():
                self.cancelled.clear()
                raise ServerError("canceling statement due to user request", "57014")
        if self.double.closing:
            raise Closed("the double is closed")

    def serve(self):
        try:
            if self.protocol >> 16 != 3:
                raise ServerError(f"unsupported frontend protocol {self.protocol >> 16}.{self.protocol & 0xFFFF}", "0A000",
                                  severity="FATAL")
            self.double.note(f"{self.name} begins at port {self.port}: {self.asked}")
            self.begin()
            self.converse()
        except ServerError as e:
            self.end_with(e)

    def greet(self, key):
        reported = [parameter("application_name", self.asked.get("application_name", "")),
                    *(parameter(*pair) for pair in recorded.REPORTED),
                    parameter("session_authorization", self.asked.get("user", ""))]
        key = [message(b"K", struct.pack("!II", self.pid, self.secret))] if key else []
        send(self.sock, authentication(0), *reported, *key, ready())

    def rows(self, columns, rows, tag):
        send(self.sock, row_description(columns), *(data_row(row) for row in rows), complete(tag))

    def log_unknown(self, e, statement):
        if "the double does not know" in e.message:
            self.double.unknown.append(statement)


class SqlSession(Session):
    kind = "session"

    def __init__(self, *args):
        super().__init__(*args)
        self.settings, self.prepared, self.portals = {}, {}, {}
        self.in_transaction = False
        self.database = Database(self._functions(), self._views(), self._table_functions())

    # ---- login ---------------------------------------------------------------------------------

    def begin(self):
        if self.port != self.double.port:
            raise ServerError("the ha listen ip and port is not for remote client from remote node.", "28000",
                              severity="FATAL")
        getattr(self, "_login_" + self.double.auth.replace("-", "_"))()
        databases = {name for _, name in recorded.DATABASES}
        if self.asked.get("database", self.asked.get("user")) not in databases:
            raise ServerError(f"database \"{self.asked.get('database', self.asked.get('user'))}\" does not exist", "3D000",
                              severity="FATAL")
        self.settings["application_name"] = self.asked.get("application_name", "")
        self.greet(key=True)

    def _login_trust(self):
        pass

    def _login_sha256(self):
        """openGauss' own method, which has the number of SASL: kind of the stored password, salt, token, iterations."""
        send(self.sock, authentication(SASL_SHA256, struct.pack("!I", 2) + secrets.token_hex(32).encode() +
                                       secrets.token_hex(4).encode() + struct.pack("!I", 10000)))
        raise Closed("the client " + self._after_login())

    def _login_md5_sha256(self):
        """An md5 entry of pg_hba.conf and a password that is stored as sha256."""
        send(self.sock, authentication(SASL_MD5_SHA256, secrets.token_hex(32).encode() + secrets.token_bytes(4)))
        raise Closed("the client " + self._after_login())

    def _login_sasl_unknown(self):
        send(self.sock, authentication(SASL_SHA256, b"UNHEARD-OF-256\0\0"))
        raise Closed("the client " + self._after_login())

    def _after_login(self):
        read_message(self.sock)  # a stock libpq gives up here
        return "answered: the double does not speak this method to its end"

    def _login_md5(self):
        salt = secrets.token_bytes(4)
        send(self.sock, authentication(MD5, salt))
        kind, body = read_message(self.sock)
        inner = hashlib.md5((self.double.password + self.asked["user"]).encode()).hexdigest()
        if kind != b"p" or body.rstrip(b"\0") != b"md5" + hashlib.md5(inner.encode() + salt).hexdigest().encode():
            raise ServerError("Invalid username/password,login denied.", "28P01", severity="FATAL")

    # ---- the conversation ----------------------------------------------------------------------

    def converse(self):
        skipping = False  # behind an error, up to the next Sync
        while True:
            kind, body = read_message(self.sock)
            if kind == b"X":
                return
            if kind == b"S":
                skipping = False
                send(self.sock, ready(self.in_transaction))
            elif not skipping:
                try:
                    self._handle(kind, body)
                except ServerError as e:
                    if e.severity == "FATAL":
                        raise
                    send(self.sock, error(e))
                    skipping = kind != b"Q"
                if kind == b"Q":
                    send(self.sock, ready(self.in_transaction))

    def _handle(self, kind, body):
        if kind == b"Q":
            for statement in self._split(body[:-1].decode()):
                columns, rows, tag = self._run(statement, [])
                if columns is not None:
                    self.rows(columns, rows, tag)
                else:
                    send(self.sock, complete(tag) if tag else message(b"I"))
        elif kind == b"P":
            name, at = take_text(body, 0)
            self.prepared[name], _ = take_text(body, at)
            send(self.sock, message(b"1"))
        elif kind == b"B":
            portal, at = take_text(body, 0)
            name, at = take_text(body, at)
            if name not in self.prepared:
                raise ServerError(f'prepared statement "{name}" does not exist', "26000")
            self.portals[portal] = [self.prepared[name], take_parameters(body, at), None]
            send(self.sock, message(b"2"))
        elif kind in (b"D", b"E"):
            self._portal(kind, body)
        elif kind == b"C":
            (self.prepared if body[:1] == b"S" else self.portals).pop(take_text(body, 1)[0], None)
            send(self.sock, message(b"3"))
        elif kind != b"H":  # everything is sent at once anyhow
            raise ServerError(f"the double does not know messages of type {kind!r}", "08P01", severity="FATAL")

    def _portal(self, kind, body):
        if kind == b"D" and body[:1] != b"P":
            raise ServerError("the double describes portals only", "0A000")
        portal = self.portals[take_text(body, 1 if kind == b"D" else 0)[0]]
        if portal[2] is None:
            portal[2] = self._run(portal[0], portal[1])
        columns, rows, tag = portal[2]
        if kind == b"D":
            send(self.sock, row_description(columns) if columns is not None else message(b"n"))
        else:
            send(self.sock, *(data_row(row) for row in rows), complete(tag) if tag else message(b"I"))

    @staticmethod
    def _split(sql):
        parts, last, quoted = [], 0, False
        for i, c in enumerate(sql):
            quoted ^= c == "'"
            if c == ";" and not quoted:
                parts.append(sql[last:i])
                last = i + 1
        parts = [part.strip() for part in (*parts, sql[last:]) if part.strip()]
        return parts or [""]

    # ---- statements ----------------------------------------------------------------------------

    def _run(self, statement, params):
        """(columns or None, rows, tag)."""
        statement = statement.strip().rstrip(";").strip()
        self.cancelled.clear()
        self.double.heard(self, statement + (f"  -- {params}" if params else ""))
        verb = statement.split(None, 1)[0].upper() if statement else ""
        if verb == "":
            return None, [], ""
        if verb in ("BEGIN", "COMMIT", "ROLLBACK", "START", "END"):
            self.in_transaction = verb in ("BEGIN", "START")
            return None, [], {"START": "START TRANSACTION", "END": "COMMIT"}.get(verb, verb)
        if verb == "SET":
            return self._set(statement)
        if verb == "SHOW":
            name = statement.split()[1]
            return [(name, TEXT)], [[self._setting(name)]], "SHOW"
        try:
            if verb != "SELECT":
                raise ServerError(f"the double does not know this statement: {statement}", "42601")
            columns, rows = self.database.run(statement, params)
        except ServerError as e:
            self.log_unknown(e, statement)
            raise
        return columns, rows, f"SELECT {len(rows)}"

    def _set(self, statement):
        found = re.fullmatch(r"SET\s+(?:SESSION\s+|LOCAL\s+)?(\w+)\s*(?:=|\s+TO)\s*(.*)", statement, re.I | re.S)
        if not found:
            raise ServerError(f"the double does not know this statement: {statement}", "42601")
        self._change(found[1], found[2].strip().strip("'"))
        return None, [], "SET"

    def _change(self, name, value, *_):
        key = name.lower()
        self._setting(name)
        self.settings[key] = value
        if key in recorded.REPORTED_BY_SETTING:
            send(self.sock, parameter(recorded.REPORTED_BY_SETTING[key], value))
        return value

    def _setting(self, name):
        key = name.lower()
        if key in self.settings:
            return self.settings[key]
        if key not in self.double.settings:
            raise ServerError(f'unrecognized configuration parameter "{name}"', "42704")
        value = self.double.settings[key]
        return recorded.SHOWN.get(key, value) if value == recorded.SETTINGS.get(key) else value

    def _functions(self):
        d = self.double
        return {
            "version": lambda: d.version, "opengauss_version": lambda: recorded.OPENGAUSS_VERSION,
            "current_user": lambda: self.asked.get("user"), "session_user": lambda: self.asked.get("user"),
            "current_database": lambda: self.asked.get("database"), "pg_backend_pid": lambda: self.pid,
            "current_setting": self._setting, "set_config": self._change,
            "pg_is_in_recovery": lambda: d.in_recovery,
            "has_function_privilege": self._may, "pg_has_role": lambda *_: True,
            "clock_timestamp": now_text, "now": now_text, "pg_last_xact_replay_timestamp": lambda: None,
            "date_part": lambda _, stamp: None if stamp is None else epoch(stamp),
            "greatest": lambda *values: max((v for v in values if v is not None), default=None),
            "txid_current_snapshot": lambda: f"{d.next_xid}:{d.next_xid}:",
            "txid_snapshot_xmax": lambda snapshot: int(snapshot.split(":")[1]),
            "pg_start_backup": self._start_backup, "pg_stop_backup": self._stop_exclusive,
            "pg_create_restore_point": self._restore_point,
            "pg_current_xlog_location": lambda: wal.lsn_text(d.position),
            "pg_current_xlog_insert_location": lambda: wal.lsn_text(d.position),
            "pg_xlogfile_name": lambda lsn: d.wal.file_name(wal.parse_lsn(lsn)),
            "pg_last_xlog_replay_location": lambda: f"(1,{wal.lsn_text(d.position)})",
            "pg_last_xlog_replay_location__lsn": lambda: wal.lsn_text(d.position),
            "pg_xlog_location_diff": lambda one, other: wal.parse_lsn(one) - wal.parse_lsn(other),
            "pg_cbm_tracked_location": lambda: wal.lsn_padded(d.tracked_location()),
            "pg_cbm_force_track": self._force_track,
            "pg_read_file": lambda name: (d.source / name).read_text(encoding="utf-8"),
            "pg_create_physical_replication_slot": lambda name, _: d.create_slot(name) or f"({name},)",
            "pg_drop_replication_slot": lambda name: d.drop_slot(name) or "",
        }

    def _views(self):
        d = self.double

        def settings():
            spelled = {"datestyle": "DateStyle", "timezone": "TimeZone"}
            return ("name", "setting", "reset_val"), [(spelled.get(name, name), self.settings.get(name, value), value)
                                                      for name, value in d.settings.items()]

        def roles():
            return ("rolname", *d.role), [(self.asked.get("user"), *d.role.values())]

        def users():
            return ("usename", "usesuper", "userepl"), [(self.asked.get("user"), d.role["rolsuper"],
                                                         d.role["rolreplication"])]

        def procedures():
            return ("proname", "pronargs"), [f for f in recorded.FUNCTIONS if not d.exclusive_only or
                                             f not in (("pg_start_backup", 3), ("pg_stop_backup", 1))]

        def senders():
            return ("pid", "sync_state", "state"), []

        return {"pg_settings": settings, "pg_roles": roles, "pg_authid": roles, "pg_user": users, "pg_proc": procedures,
                "pg_database": lambda: (("oid", "datname"), recorded.DATABASES), "pg_replication_slots": self._slots,
                "pg_stat_replication": senders}

    def _table_functions(self):
        d = self.double
        return {
            "pg_control_system": lambda: (("pg_control_version", "catalog_version_no", "system_identifier"),
                                          [(923, 201611171, str(d.system_id))]),
            "pg_control_checkpoint": lambda: (("checkpoint_lsn", "redo_lsn", "timeline_id"),
                                              [(d.control_checkpoint, d.control_redo, 1)]),
            "pg_start_backup": lambda *args: (("pg_start_backup",), [(self._start_backup(*args),)]),
            "pg_stop_backup": self._stop_in_from,
            "pg_ls_dir": lambda name: (("pg_ls_dir",), [(path.name,) for path in sorted((d.source / name).iterdir())]),
            "pg_get_replication_slots": self._slots,
            "pg_cbm_get_changed_block": lambda start, end: (recorded.CBM_COLUMNS, d.changed_blocks(start, end)),
            "pg_last_xlog_replay_location": lambda: (("term", "lsn"), [("1", wal.lsn_text(d.position))]),
            "pg_stat_get_stream_replications": lambda: (
                ("local_role", "static_connections", "db_state"),
                [("Standby" if d.in_recovery else d.local_role, 0, "Normal")]),
            "pg_stat_get_wal_senders": lambda: (("pid", "local_role", "peer_role", "state", "sync_state"), []),
        }

    def _may(self, *args):
        """(user,) function, privilege."""
        return args[-2].split("(")[0].split(".")[-1] not in self.double.denied

    def _demand(self, function):
        if function in self.double.denied:
            raise ServerError("must be system admin or replication role to run a backup", "42501")

    def _start_backup(self, label, _fast=False, exclusive=True):
        self._demand("pg_start_backup")
        if not exclusive or exclusive == "false":
            if self.double.exclusive_only:
                raise ServerError("function pg_start_backup(unknown, unknown, boolean) does not exist", "42883")
            exclusive = False
        return wal.lsn_text(self.double.start_backup(self, label, bool(exclusive)).marks.start)

    def _archive_notice(self):
        if not self.double.in_recovery:
            send(self.sock, notice("NOTICE", "00000", "WAL archiving is not enabled; you must ensure that all required WAL "
                                   "segments are copied through other means to complete the backup"))

    def _stop_exclusive(self, *args):
        self._demand("pg_stop_backup")
        if args:
            raise ServerError("the double answers pg_stop_backup(boolean) in FROM only", "0A000")
        backup = self.double.stop_backup(self, exclusive=True)
        self._archive_notice()
        return wal.lsn_text(backup.marks.stop)

    def _stop_in_from(self, exclusive=True):
        self._demand("pg_stop_backup")
        exclusive = exclusive not in (0, "false", "f")
        backup = self.double.stop_backup(self, exclusive)
        self._archive_notice()
        texts = (None, None) if exclusive else (self.label_text(backup), self.double.map_text())
        return ("lsn", "labelfile", "spcmapfile"), [(wal.lsn_text(backup.marks.stop), *texts)]

    def label_text(self, backup):
        marks = backup.marks
        began = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
        return (f"START WAL LOCATION: {wal.lsn_text(marks.start)} (file {self.double.wal.file_name(marks.start)})\n"
                f"CHECKPOINT LOCATION: {wal.lsn_text(marks.checkpoint)}\n"
                f"BACKUP METHOD: {'pg_start_backup' if backup.exclusive else 'streamed'}\n"
                f"BACKUP FROM: {'standby' if backup.on_standby else 'master'}\n"
                f"START TIME: {began}\nLABEL: {backup.label}\n")

    def _restore_point(self, name):
        self._demand("pg_create_restore_point")
        return wal.lsn_text(self.double.create_restore_point(self, name))

    def _force_track(self, target, _seconds):
        if self.double.tracked is not None:
            raise ServerError("CBM writer thread is not running!")
        return wal.lsn_padded(max(self.double.tracked_location(), wal.parse_lsn(target)))

    def _slots(self):
        return ("slot_name", "plugin", "slot_type", "active", "restart_lsn", "dummy_standby"), [
            (name, "", "physical", slot["active"], wal.lsn_text(slot["restart_lsn"]), False)
            for name, slot in self.double.slots.items()]
