# SPDX-License-Identifier: Apache-2.0
"""What lies between the tool and its server, and fails when a test says so."""
import contextlib
import ctypes
import fcntl
import socket
import struct
import termios
import threading

from processes import give_to_user, make_dir, wait_until

KINDS = ("session", "replication")
SSL_REQUEST, GSS_REQUEST, CANCEL_REQUEST = 80877103, 80877104, 80877102
SO_ATTACH_FILTER = 26


def _receive(sock, n):
    data = b""
    while len(data) < n:
        part = sock.recv(n - len(data))
        if not part:
            raise ConnectionError("closed during startup")
        data += part
    return data


def _acknowledged(sock):
    """The other side's kernel has confirmed every byte that was sent to it."""
    return struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))[0] == 0


def _drop_everything(sock):
    """The kernel answers nothing that arrives here any more, as if the cable were cut."""
    program = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # return 0: keep no byte of it
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(program)))


class Proxy:
    """Forwards connections to a cluster. Everything is told apart by the kind of connection: "session" speaks SQL,
    "replication" the replication protocol; requests to cancel always pass."""

    def __init__(self, cluster, home, tcp=False):
        self.cluster = cluster
        self.upstream = str(cluster.socket_dir / ".s.PGSQL.5432")
        if tcp:
            self.listener = socket.create_server(("127.0.0.1", 0))
            self.host, self.port = self.listener.getsockname()
        else:
            self.host, self.port = make_dir(home), 5432
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(str(home / ".s.PGSQL.5432"))
            give_to_user(home / ".s.PGSQL.5432")
            self.listener.listen()
        self.questions = {kind: threading.Event() for kind in KINDS}  # set: they pass
        self.answers = {kind: threading.Event() for kind in KINDS}
        self.clients = {kind: [] for kind in KINDS}
        self.reached = threading.Event()  # what the test waits for has come by
        self.pattern, self.action = None, None
        self.sockets, self.failures = [], []
        self.release()
        self._start(self._accept)

    # What a test does.

    @property
    def connection_options(self):
        return ["-h", self.host, "-p", self.port, "-d", "postgres", "-U", self.cluster.superuser]

    def hold(self, *kinds):
        """Nothing passes any more, neither way, and nobody is told; new connections are accepted."""
        for kind in kinds:
            self.questions[kind].clear()
            self.answers[kind].clear()

    def hold_answers(self, kind):
        self.answers[kind].clear()

    def release(self):
        for event in (*self.questions.values(), *self.answers.values()):
            event.set()

    def cut(self, *kinds):
        """The other side of these TCP connections is gone without a word, and nobody takes new ones."""
        _drop_everything(self.listener)
        for client in [client for kind in kinds for client in self.clients[kind]]:
            # What is not acknowledged is sent again and again: a sign of life of the side that is to be dead.
            wait_until(lambda client=client: _acknowledged(client), "the tool's system to acknowledge what was sent")
            _drop_everything(client)

    def at(self, pattern, action):
        """Call action() when the tool sends the pattern, before it is forwarded; once."""
        self.pattern, self.action = pattern, action

    def close(self):
        self.release()
        for sock in (self.listener, *self.sockets):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        assert not self.failures, self.failures

    # What happens meanwhile.

    def _start(self, work, *args):
        threading.Thread(target=work, args=args, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.sockets.append(client)
            self._start(self._serve, client)

    def _serve(self, client):
        try:
            while True:
                size = _receive(client, 4)
                startup = _receive(client, struct.unpack("!I", size)[0] - 4)
                code = struct.unpack("!I", startup[:4])[0]
                if code not in (SSL_REQUEST, GSS_REQUEST):
                    break
                client.sendall(b"N")
            server = socket.socket(socket.AF_UNIX)
            self.sockets.append(server)
            server.connect(self.upstream)
        except OSError:
            client.close()
            return
        if code == CANCEL_REQUEST:
            server.sendall(size + startup)
            server.recv(1)  # the server closes when it has passed the request on
            client.close()
            return
        kind = "replication" if b"replication\0true\0" in startup else "session"
        self.clients[kind].append(client)
        if not self.questions[kind].is_set():
            self.reached.set()
        self._start(self._pump, client, server, self.questions[kind], size + startup, True)
        self._start(self._pump, server, client, self.answers[kind], b"", False)

    def _pump(self, source, target, gate, data, is_question):
        try:
            while True:
                gate.wait()
                target.sendall(data)
                data = source.recv(1 << 16)
                if not data:
                    break
                if is_question and self.pattern is not None and self.pattern in data:
                    self._act()
            gate.wait()
            target.shutdown(socket.SHUT_WR)
        except OSError:  # one side is gone: so is the other
            gate.wait()
            for sock in (source, target):
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _act(self):
        self.pattern = None
        try:
            self.action()
        except Exception as failure:  # pylint: disable=broad-except
            self.failures.append(failure)
        self.reached.set()
