# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL clusters for tests: made from a template, on a unix socket of their own."""
import contextlib
import subprocess
from pathlib import Path

import psycopg2

from processes import copy_tree, give_to_user, make_dir, popen, run, wait_until

CLIENTS = Path("/usr/lib/postgresql/15/bin")

# Durability is the tool's business here, not the scratch server's.
SETTINGS = """
listen_addresses = ''
fsync = off
shared_buffers = 64MB
wal_init_zero = off
max_connections = 40
max_wal_size = 2GB
log_min_messages = warning
"""


class Version:
    """One server version: where its programs are, and its template clusters."""

    def __init__(self, major, bindir, template_root):
        self.major = major
        self.bindir = Path(bindir)
        self.template_root = template_root

    def initdb(self, data, checksums=True, wal_segment=16):
        # Version 18 turned checksums on by default.
        options = ["--data-checksums"] if checksums else ["--no-data-checksums"] if self.major >= 18 else []
        options.append(f"--wal-segsize={wal_segment}")
        run([self.bindir / "initdb", "-D", data, "-A", "trust", "-U", "postgres", "--no-sync", "--no-locale", "-E", "UTF8",
             *options])

    def template(self, checksums):
        path = self.template_root / f"{self.major}-{'checksums' if checksums else 'plain'}"
        if not path.exists():
            self.initdb(path, checksums)
        return path


class Cluster:
    def __init__(self, version, data, home):
        """home: an existing directory for the socket, the log and tablespaces."""
        self.version = version
        self.data = Path(data)
        self.home = Path(home)
        self.superuser = "postgres"
        self.running = False

    @classmethod
    def create(cls, version, home, checksums=True, fresh=False, wal_segment=16, settings=""):
        """fresh: a system identifier of its own, instead of the template's. wal_segment: in MiB, 16 is a template's."""
        home = make_dir(home)
        data = home / "data"
        if fresh or wal_segment != 16:
            version.initdb(data, checksums, wal_segment)
        else:
            copy_tree(version.template(checksums), data)
        with open(data / "postgresql.conf", "a", encoding="utf-8") as conf:
            conf.write(SETTINGS + settings)
        cluster = cls(version, data, home)
        cluster.start()
        return cluster

    def start(self, *options):
        sockets = self.home / "s"
        if not sockets.exists():
            make_dir(sockets)
        log = self.home / "server.log"
        done = run([self.version.bindir / "pg_ctl", "start", "-w", "-t", "60", "-D", self.data, "-l", log,
                    "-o", " ".join([f"-c unix_socket_directories={sockets} -c listen_addresses=''", *options])], check=False)
        assert done.returncode == 0, log.read_text() if log.exists() else done.stderr
        self.running = True
        wait_until(lambda: self.sql("SELECT NOT pg_is_in_recovery()")[0][0], "the end of recovery")

    def stop(self, mode="fast"):
        if self.running:
            run([self.version.bindir / "pg_ctl", "stop", "-w", "-D", self.data, "-m", mode])
            self.running = False

    @property
    def socket_dir(self):
        return self.home / "s"

    @property
    def connection_options(self):
        """For the tool's command line."""
        return ["-h", self.socket_dir, "-p", "5432", "-d", "postgres", "-U", self.superuser]

    def connect(self, database="postgres"):
        connection = psycopg2.connect(host=str(self.socket_dir), port=5432, user=self.superuser, dbname=database)
        connection.autocommit = True
        return connection

    def sql(self, query, *args, database="postgres"):
        with contextlib.closing(self.connect(database)) as connection, connection.cursor() as cursor:
            cursor.execute(query, args or None)
            return cursor.fetchall() if cursor.description else []

    def client(self, program, *args, **kwargs):
        return run([CLIENTS / program, "-h", self.socket_dir, "-p", "5432", "-U", self.superuser, *args], **kwargs)

    def tablespace(self, name):
        """A new tablespace outside PGDATA; returns its directory."""
        path = make_dir(self.home / name)
        self.sql(f"CREATE TABLESPACE {name} LOCATION '{path}'")
        return path

    def pgbench_init(self, scale):
        self.client("pgbench", "-i", "-q", "-s", scale, "postgres")

    @contextlib.contextmanager
    def load(self, clients=2):
        """pgbench writing as long as the block runs."""
        log = open(self.home / "pgbench.log", "w", encoding="utf-8")
        before = self.sql("SELECT count(*) FROM pgbench_history")[0][0]
        process = popen([CLIENTS / "pgbench", "-h", self.socket_dir, "-p", "5432", "-U", self.superuser, "-n", "-c", clients,
                         "-T", "600", "postgres"], stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_until(lambda: self.sql("SELECT count(*) FROM pgbench_history")[0][0] > before, "pgbench")
            yield
            assert process.poll() is None, f"pgbench ended early: {(self.home / 'pgbench.log').read_text()}"
        finally:
            process.kill()
            process.wait()
            log.close()

    def relation_path(self, relation, database="postgres"):
        return self.sql("SELECT pg_relation_filepath(%s)", relation, database=database)[0][0]

    # What a restored cluster must show.

    def check_tables_and_indexes(self):
        if self.version.major >= 14:
            self.client("pg_amcheck", "--all", "--install-missing", "--heapallindexed", timeout=180)
        else:  # amcheck knew only indexes, and its program did not exist yet
            for (database,) in self.sql("SELECT datname FROM pg_database WHERE datallowconn"):
                self.sql("CREATE EXTENSION IF NOT EXISTS amcheck", database=database)
                self.sql("""SELECT bt_index_check(i.indexrelid, true) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                    JOIN pg_am a ON a.oid = c.relam
                    WHERE a.amname = 'btree' AND c.relpersistence = 'p' AND i.indisready AND i.indisvalid""",
                    database=database)
        failures = self.sql("SELECT sum(checksum_failures) FROM pg_stat_database")[0][0]
        assert failures in (None, 0), f"{failures} pages with a wrong checksum"

    def check_pgbench_balances(self):
        """Every transaction adds one amount to an account, a teller and a branch, and notes it."""
        sums = self.sql("""SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers),
            (SELECT sum(bbalance) FROM pgbench_branches), (SELECT coalesce(sum(delta), 0) FROM pgbench_history)""")[0]
        assert len(set(sums)) == 1, f"accounts, tellers, branches, history: {sums}"
        return self.sql("SELECT count(*) FROM pgbench_history")[0][0]

    def check_page_checksums(self):
        """Every page of every file, on a stopped cluster."""
        assert not self.running
        if self.version.major == 15:  # the program of another major refuses
            run([CLIENTS / "pg_checksums", "--check", "-D", self.data])

    def relation_hashes(self):
        """database.schema.relation -> rows and the md5 of all of them, sorted; sequences by their state."""
        result = {}
        for (database,) in self.sql("SELECT datname FROM pg_database WHERE datallowconn"):
            relations = self.sql("""SELECT c.oid::regclass::text, n.nspname || '.' || c.relname,
                    CASE c.relkind WHEN 'S' THEN '(last_value, is_called)' ELSE 't' END
                FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE c.relkind IN ('r', 'm', 'S') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'""",
                database=database)
            for name, label, row in relations:
                result[f"{database}.{label}"] = self.sql(f"""SELECT count(*), md5(string_agg(r, E'\\n' ORDER BY r))
                    FROM (SELECT {row}::text AS r FROM {name} t) s""", database=database)[0]
            result[f"{database} large objects"] = self.sql(
                "SELECT count(*), md5(string_agg(md5(data), '' ORDER BY loid, pageno)) FROM pg_largeobject",
                database=database)[0]
        return result

    def backends_of_the_tool(self):
        """What an ended backup must not leave behind: sessions, WAL senders, slots."""
        return self.sql("""SELECT 'session ' || pid || ' ' || coalesce(application_name, '') FROM pg_stat_activity
                WHERE backend_type IN ('client backend', 'walsender') AND pid <> pg_backend_pid()
            UNION ALL SELECT 'slot ' || slot_name FROM pg_replication_slots""")

    def check_out_of_backup_mode(self):
        wait_until(lambda: not self.backends_of_the_tool(), "the tool's sessions and slots to end", timeout=10)


def restored(version, data, home):
    """A cluster out of a restored directory, not yet started."""
    home = make_dir(home)
    give_to_user(data)
    return Cluster(version, data, home)
