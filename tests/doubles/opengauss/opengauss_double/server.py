# SPDX-License-Identifier: Apache-2.0
"""The double itself: what the server knows and does, its listeners, and the script of what goes wrong."""
import os
import re
import socket
import struct
import threading
from pathlib import Path

from . import recorded, wal
from .session import SqlSession
from .walsender import WalSender
from .wire import CANCEL_REQUEST, GSS_REQUEST, SSL_REQUEST, Closed, ServerError, read_startup

CONTROL_BYTES = 228  # of pg_control, its CRC included; zeros follow


def come_up(source):
    """What a server does with a restored directory when it starts there, as far as tools see it: it reads the label and
    removes it and the map, and writes pg_control anew. Returns where the backup began, as text."""
    source = Path(source)
    label = (source / "backup_label").read_text(encoding="utf-8")
    for name in ("backup_label", "tablespace_map"):
        (source / name).unlink(missing_ok=True)
    with open(source / "global" / "pg_control", "r+b") as control:
        size = control.seek(0, os.SEEK_END)
        control.seek(CONTROL_BYTES)
        control.write(bytes(size - CONTROL_BYTES))
    return re.search(r"^START WAL LOCATION: (\S+)", label, re.M)[1]


class Backup:
    """One that has begun; it ends with its session."""

    def __init__(self, session, marks, label, exclusive, on_standby):
        self.session, self.marks, self.label = session, marks, label
        self.exclusive, self.on_standby = exclusive, on_standby


class Double:
    """An openGauss server over a directory that nobody changes.

    source: a PGDATA with recorded WAL in pg_xlog. starts: where the recorded backups in that WAL begin, as text; the n-th
    backup is given the n-th, the last one again and again. Without them source is a restored directory: its backup_label
    tells, and is removed, as by a server that has come up there. cbm_rows: rows as read_cbm_rows gives them. auth: "trust"
    "md5" "sha256" "md5-sha256" "sasl-unknown", for SQL sessions. denied: functions that the user may not call. role: columns of
    pg_roles. local_role: "Normal" for a server of its own, "Primary" for one with standbys. Everything runs in threads of this process."""

    def __init__(self, source, starts=None, *, host="127.0.0.1", port=0, socket_dir=None, cbm_rows=None, settings=None,
                 auth="trust", password="", user="omm", standby=False, exclusive_only=False, system_id=None,
                 replication_port="both", push_configuration=False, denied=(), role=None, version=recorded.VERSION,
                 local_role="Normal"):
        self.source = Path(source)
        self.wal = wal.Wal(self.source / "pg_xlog")
        if starts is None:
            starts = [come_up(self.source)]
        self.marks = [self.wal.marks(wal.parse_lsn(start)) for start in starts]
        self.settings = {**recorded.SETTINGS, "data_directory": str(self.source), **(settings or {})}
        self.cbm_rows, self.auth, self.password, self.user, self.version = cbm_rows, auth, password, user, version
        self.in_recovery, self.exclusive_only = standby, exclusive_only
        self.replication_port, self.push_configuration = replication_port, push_configuration
        self.denied, self.local_role = set(denied), local_role
        self.role = {"rolsuper": True, "rolreplication": True, "rolsystemadmin": True, "rolcanlogin": True, **(role or {})}
        control = (self.source / "global" / "pg_control").read_bytes()
        self.system_id = system_id if system_id is not None else struct.unpack_from("<Q", control)[0]
        self.control_checkpoint, self.control_redo = (struct.unpack_from("<Q", control, at)[0] for at in (32, 48))
        self.next_xid = struct.unpack_from("<Q", control, 64)[0]

        self.lock = threading.RLock()
        self.advanced = threading.Condition(self.lock)
        self.position = self.marks[0].start // wal.SEGMENT * wal.SEGMENT
        self.tracked = None  # where tracking has stopped, if it has
        self.cbm_recycled = False
        self.begun = 0
        self.backups, self.sessions, self.slots = {}, [], {}
        self.stream_is = "alive"  # "silent": nothing is sent any more
        self.statements, self.events, self.replies, self.unknown = [], [], [], []
        self.script = []
        self.released, self.closing = threading.Event(), False
        self.crashed = False
        if self.settings["enable_cbm_tracking"] != "on":
            self.stop_tracking()
        self._listen(host, port, socket_dir)

    # ---- what a test, or the command line, does ------------------------------------------------

    @property
    def connection_options(self):
        """For the tool's command line."""
        return ["-h", self.socket_dir or self.host, "-p", str(self.port), "-d", "postgres", "-U", self.user]

    @property
    def in_backup_mode(self):
        with self.lock:
            return bool(self.backups)

    @property
    def left_behind(self):
        """What an ended tool must not leave: backup mode, sessions, slots that it made."""
        with self.lock:
            return [f"backup of {b.session.name}" for b in self.backups.values()] + \
                [s.name for s in self.sessions] + [f"slot {name}" for name in self.slots]

    def at(self, pattern, action, times=1):
        """When a statement matches, on any connection and before it is answered: action(double, session), or one of the
        names in ACTIONS. An action may raise ServerError (the answer) or Closed (the connection ends)."""
        if isinstance(action, str):
            action = named_action(action)
        self.script.append([re.compile(pattern, re.I), action, times])

    def release(self):
        """Whoever hangs goes on."""
        self.released.set()

    def promote(self):
        self.note("promoted")
        self.in_recovery = False

    def stop_tracking(self, by_setting=True):
        """By the setting, or because its thread has died: either way the tracked position stands still."""
        with self.lock:
            self.tracked = self.position
            if by_setting:
                self.settings["enable_cbm_tracking"] = "off"

    def shut_down(self):
        """A fast shutdown: sessions are told, streams just end, nobody gets in again."""
        self.note("shut down")
        self._stop_listening()
        for session in list(self.sessions):
            session.end_with(ServerError("terminating connection due to administrator command", "57P01", severity="FATAL"))

    def crash(self):
        self.note("CRASHED")
        self.crashed = True
        self._stop_listening()
        for session in list(self.sessions):
            session.drop()

    def close(self):
        self.closing = True
        self.release()
        self._stop_listening()
        for session in list(self.sessions):
            session.drop()
        with self.advanced:
            self.advanced.notify_all()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- what sessions do ----------------------------------------------------------------------

    def note(self, what):
        with self.lock:
            self.events.append(what)

    def heard(self, session, statement):
        """Log a statement and do what the script says; once a part of it is used up it is forgotten."""
        with self.lock:
            self.statements.append(f"{session.name}: {statement}")
            todo = []
            for entry in self.script:
                if entry[2] > 0 and entry[0].search(statement):
                    entry[2] -= 1
                    todo.append(entry[1])
        for action in todo:
            action(self, session)

    def start_backup(self, session, label, exclusive):
        with self.lock:
            if session in self.backups:
                raise ServerError("a backup is already in progress in this session", "55000")
            if exclusive:
                self._check_no_files()
            marks = self.marks[min(self.begun, len(self.marks) - 1)]
            backup = Backup(session, marks, label, exclusive, self.in_recovery)
            self.begun += 1
            self.backups[session] = backup
            self._advance(marks.checkpoint_end)
            if exclusive:
                self._put("backup_label", session.label_text(backup))
                self._put("tablespace_map", self.map_text())
            self.note(f"backup begins at {wal.lsn_text(marks.start)}, {'exclusive' if exclusive else 'not exclusive'}")
            return backup

    def stop_backup(self, session, exclusive):
        with self.lock:
            backup = self.backups.get(session)
            if backup is None or backup.exclusive != exclusive:
                hint = None if backup is None else "Did you mean to use the other form of pg_stop_backup?"
                raise ServerError("a backup is not in progress", "55000", hint)
            if backup.on_standby and not self.in_recovery:
                raise ServerError("the standby was promoted during online backup", "55000",
                                  "This means that the backup being taken is corrupt and should not be used. Try taking "
                                  "another online backup.")
            del self.backups[session]
            if exclusive:
                self._remove("backup_label", "tablespace_map")
            # The end of a backup on a primary switches to a new segment.
            self._advance(backup.marks.stop if self.in_recovery else
                          (backup.marks.stop + wal.SEGMENT - 1) // wal.SEGMENT * wal.SEGMENT)
            self.note(f"backup ends at {wal.lsn_text(backup.marks.stop)}")
            return backup

    def create_restore_point(self, session, name):
        with self.lock:
            if self.in_recovery:
                raise ServerError("recovery is in progress", "55000",
                                  "WAL control functions cannot be executed during recovery.")
            backup = self.backups.get(session)
            end = backup.marks.restore_point_end if backup else None
            if end is not None:
                self._advance(end)
            self.note(f"restore point {name}")
            return end if end is not None else self.position

    def ended(self, session):
        with self.lock:
            if session in self.sessions:
                self.sessions.remove(session)
            backup = self.backups.pop(session, None)
            if backup is not None:
                if backup.exclusive:
                    self._remove("backup_label")  # and, as measured, nothing else
                self.note(f"backup of {session.name} is given up: its session ended")

    def create_slot(self, name):
        with self.lock:
            if name in self.slots:
                raise ServerError(f'replication slot "{name}" already exists', "42710")
            if len(self.slots) >= int(self.settings["max_replication_slots"]):
                raise ServerError("all replication slots are in use", "53400")
            self.slots[name] = {"active": False, "restart_lsn": self.position}
            self.note(f"slot {name} created")

    def drop_slot(self, name):
        with self.lock:
            if name not in self.slots:
                raise ServerError(f'replication slot "{name}" does not exist', "42704")
            if self.slots[name]["active"]:
                raise ServerError(f'replication slot "{name}" is already active', "55006")
            del self.slots[name]
            self.note(f"slot {name} dropped")

    def tracked_location(self):
        return self.position if self.tracked is None else self.tracked

    def changed_blocks(self, start, end):
        start_lsn, end_lsn = wal.parse_lsn(start), wal.parse_lsn(end)
        if end_lsn > self.tracked_location():
            raise ServerError(f"end xlog location {wal.lsn_text(end_lsn)} should be smaller than or equal to already tracked "
                              f"xlog location {wal.lsn_text(self.tracked_location())}", "22023")
        if self.cbm_recycled:
            raise ServerError(f"could not find valid CBM file between {wal.lsn_padded(start_lsn)} and "
                              f"{wal.lsn_padded(end_lsn)}", "58P01")
        rows = [row for row in self.cbm_rows or ()
                if wal.parse_lsn(row[0]) <= start_lsn and wal.parse_lsn(row[1]) >= end_lsn]
        if not rows:
            raise ServerError(f"the double has no recorded map from {start} to {end}", "58P01")
        return rows

    def map_text(self):
        folder = self.source / "pg_tblspc"
        links = sorted(path for path in folder.iterdir() if path.is_symlink()) if folder.is_dir() else []
        return "".join(f"{path.name} {os.readlink(path)}\n" for path in links)

    # ---- inside --------------------------------------------------------------------------------

    def _check_no_files(self):
        for name in ("backup_label", "tablespace_map"):
            if (self.source / name).exists():
                raise ServerError("a backup is already in progress", "55000",
                                  f"If you're sure there is no backup in progress, remove file \"{name}\" and try again.")

    def _put(self, name, text):
        if not text:
            return
        path, owner = self.source / name, self.source.stat()
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        os.chown(path, owner.st_uid, owner.st_gid)

    def _remove(self, *names):
        for name in names:
            (self.source / name).unlink(missing_ok=True)

    def _advance(self, position):
        with self.advanced:
            self.position = max(self.position, position)
            self.advanced.notify_all()

    def _listen(self, host, port, socket_dir):
        self.host, self.socket_dir = host, str(socket_dir) if socket_dir else None
        self.listeners = []
        if socket_dir:
            self.port = port or 6432
            for number in (self.port, self.port + 1):
                path = Path(socket_dir) / f".s.PGSQL.{number}"
                listener = socket.socket(socket.AF_UNIX)
                listener.bind(str(path))
                path.chmod(0o777)
                listener.listen()
                self.listeners.append(listener)
        else:
            self._listen_tcp(host, port)
        for listener, number in zip(self.listeners, (self.port, self.port + 1)):
            threading.Thread(target=self._accept, args=(listener, number), daemon=True).start()

    def _listen_tcp(self, host, port):
        for _ in range(100):  # two ports in a row
            first = socket.create_server((host, port))
            self.port = first.getsockname()[1]
            try:
                self.listeners = [first, socket.create_server((host, self.port + 1))]
                return
            except (OSError, OverflowError):
                first.close()
                if port:
                    raise
        raise OSError("no two ports in a row are free")

    def _stop_listening(self):
        for listener in self.listeners:
            try:
                listener.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            listener.close()

    def _accept(self, listener, port):
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock, port), daemon=True).start()

    def _serve(self, sock, port):
        session = None
        try:
            while True:
                code, body = read_startup(sock)
                if code not in (SSL_REQUEST, GSS_REQUEST):
                    break
                sock.sendall(b"N")
            if code == CANCEL_REQUEST:
                self._cancel(*struct.unpack("!II", body[:8]))
                return
            words = body.decode(errors="replace").rstrip("\0").split("\0")
            asked = dict(zip(words[::2], words[1::2]))
            kind = WalSender if asked.get("replication", "false").lower() not in ("false", "off", "no", "0") else SqlSession
            session = kind(self, sock, code, asked, port)
            with self.lock:
                if self.closing:
                    return
                self.sessions.append(session)
            session.serve()
        except (Closed, OSError, ValueError, struct.error) as e:
            if session is not None:
                self.note(f"{session.name}: {e}")
        finally:
            if session is not None:
                self.ended(session)
            sock.close()

    def _cancel(self, pid, secret):
        for session in list(self.sessions):
            if (session.pid, session.secret) == (pid, secret):
                self.note(f"cancel of {session.name}")
                session.cancelled.set()


# ---- the script ------------------------------------------------------------------------------------

def _each(double, kind, what):
    for session in list(double.sessions):
        if isinstance(session, kind):
            what(session)


def _silence(double, _):
    double.stream_is = "silent"


def _recycle(double, _):
    double.cbm_recycled = True


ACTIONS = {
    "hang": (lambda double, session: session.pause(None), "this connection does not answer any more"),
    "close": (lambda double, session: session.drop(), "this connection is closed"),
    "hang-replication": (_silence, "nothing comes from the replication connections any more"),
    "close-replication": (lambda double, _: _each(double, WalSender, WalSender.drop),
                          "the replication connections are closed"),
    "close-session": (lambda double, _: _each(double, SqlSession, SqlSession.drop), "the SQL connections are closed"),
    "promote": (lambda double, _: double.promote(), "the standby becomes the primary"),
    "shutdown": (lambda double, _: double.shut_down(), "a fast shutdown"),
    "crash": (lambda double, _: double.crash(), "every connection is gone"),
    "tracking-off": (lambda double, _: double.stop_tracking(), "enable_cbm_tracking = off"),
    "tracking-stuck": (lambda double, _: double.stop_tracking(by_setting=False), "changed blocks are not tracked any more"),
    "recycle-cbm": (_recycle, "the changed-block map of the past is gone"),
}


def named_action(text):
    """One of ACTIONS, slow:SECONDS (the answer takes that long, or until it is cancelled) or error:TEXT (the answer)."""
    name, _, rest = text.partition(":")
    if name == "slow":
        seconds = float(rest)
        return lambda double, session: session.pause(seconds)
    if name == "error":
        def fail(double, session):
            raise ServerError(rest)
        return fail
    if name not in ACTIONS:
        raise ValueError(f"no action '{name}': {', '.join(ACTIONS)}, slow:SECONDS, error:TEXT")
    return ACTIONS[name][0]
