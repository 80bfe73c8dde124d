# SPDX-License-Identifier: Apache-2.0
"""Tables that come, grow and go while a backup runs, and how to tell later whether a copy is consistent."""
import contextlib
import threading


class ChangingTables(threading.Thread):
    """Drops, truncates, extends and creates tables until told to stop. Each transaction leaves the names
    and row counts of all its tables in `expected`, so any consistent copy can be checked."""

    def __init__(self, cluster):
        super().__init__(daemon=True)
        self.cluster = cluster
        self.stop_now = threading.Event()
        self.rounds = 0
        self.failure = None
        for name in present(cluster):
            cluster.sql(f"DROP TABLE {name}")
        cluster.sql("DROP TABLE IF EXISTS expected; CREATE TABLE expected (name text PRIMARY KEY, rows int)")

    def run(self):
        try:
            with contextlib.closing(self.cluster.connect()) as connection:
                connection.autocommit = False
                while not self.stop_now.is_set():
                    with connection, connection.cursor() as cursor:
                        self.one_round(cursor, self.rounds)
                    self.rounds += 1
        except Exception as error:  # handed to the test's own thread
            self.failure = error

    @staticmethod
    def one_round(cursor, n):
        rows = 1 + n * 997 % 20000
        cursor.execute(f"CREATE TABLE changing_{n} (id int, h text)")
        cursor.execute(f"CREATE INDEX ON changing_{n} (id)")
        cursor.execute(f"INSERT INTO changing_{n} SELECT g, md5(g::text) FROM generate_series(1, {rows}) g")
        cursor.execute("INSERT INTO expected VALUES (%s, %s)", (f"changing_{n}", rows))
        if n >= 3:  # extended
            cursor.execute(f"INSERT INTO changing_{n - 3} SELECT g, 'more' FROM generate_series(1, 5000) g")
            cursor.execute("UPDATE expected SET rows = rows + 5000 WHERE name = %s", (f"changing_{n - 3}",))
        if n >= 6:
            cursor.execute(f"TRUNCATE changing_{n - 6}")
            cursor.execute("UPDATE expected SET rows = 0 WHERE name = %s", (f"changing_{n - 6}",))
        if n >= 9:
            cursor.execute(f"DROP TABLE changing_{n - 9}")
            cursor.execute("DELETE FROM expected WHERE name = %s", (f"changing_{n - 9}",))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc):
        self.stop_now.set()
        self.join(60)
        if exc[0] is None:
            assert self.failure is None, self.failure
            assert not self.is_alive()


def present(cluster):
    return {name for (name,) in cluster.sql(
        "SELECT relname FROM pg_class WHERE relname LIKE 'changing\\_%' AND relkind = 'r'")}


def check_changing_tables(cluster):
    """Names and row counts are those of one moment."""
    expected = dict(cluster.sql("SELECT name, rows FROM expected"))
    found = present(cluster)
    assert found == set(expected)
    assert {name: cluster.sql(f"SELECT count(*) FROM {name}")[0][0] for name in found} == expected
