# SPDX-License-Identifier: Apache-2.0
"""What lies between the tool and the server fails, or the server's end of it: a clear error within the time limit, and
nothing left behind on either side."""
import contextlib
import os
import signal
import socket
import threading
import time

import pytest

from processes import wait_until
from tool import failed_in_time, gsp
from wire_proxy import Proxy

LIMIT = 2  # seconds, what the tool is told to wait at most
GRACE = 3  # what it may take beyond that, on a busy machine
SHORT = [f"--archive-timeout={LIMIT}s"]
# What the tool sends: at its begin, when the copy of the files may begin and when it is over, at its end.
BEGIN, STREAM, COPIED, STOP = b"pg_backup_start($1", b"START_REPLICATION", b"pg_catalog.pg_database", b"pg_backup_stop(false)"


@pytest.fixture(scope="module")
def source(shop, pg15):
    """Big enough that a slow backup of it can be met half-way."""
    cluster = shop.cluster(pg15, settings="max_wal_size = 4GB\n")
    cluster.pgbench_init(15)
    yield cluster
    cluster.stop("immediate")


@pytest.fixture(scope="module")
def small(shop, pg15):
    cluster = shop.cluster(pg15)
    yield cluster
    cluster.stop("immediate")


@pytest.fixture
def proxy_of(bench):
    """Makes proxies before clusters."""
    with contextlib.ExitStack() as stack:
        def make(cluster, **kwargs):
            return stack.enter_context(contextlib.closing(Proxy(cluster, bench.new("wire"), **kwargs)))
        yield make


def start_until_reached(catalog, proxy, *args):
    """A backup that has come to what the proxy waits for."""
    process = catalog.start_backup(*args, through=proxy)
    wait_until(lambda: proxy.reached.is_set() or process.poll() is not None, "the moment")
    assert proxy.reached.is_set(), process.communicate()
    return process


def check_nothing_is_left(catalog, statuses=("ERROR",)):
    """On the server, or in the way of the next backup."""
    assert [backup["status"] for backup in catalog.show()] == list(statuses)
    catalog.cluster.check_out_of_backup_mode()
    catalog.backup("--no-validate")


def check_error(result, message, hint):
    assert message.lower() in result.errors[0].lower(), result
    assert len(result.hints) == 1 and hint.lower() in result.hints[0].lower(), result


# ---- the server stops answering ------------------------------------------------------------------

# moment -> what stops answering when, the error, the hint
SILENCES = {
    "login": (lambda p: p.hold("session"), "no answer in 2 seconds", "--archive-timeout"),
    "login-for-wal": (lambda p: p.hold("replication"), "replication connection: could not connect", "--archive-timeout"),
    "begin": (lambda p: p.at(BEGIN, lambda: p.hold_answers("session")),
              "pg_backup_start doesn't answer in 2 seconds", "--archive-timeout"),
    "stream-begins": (lambda p: p.at(STREAM, lambda: p.hold("replication")),
                      "", "--archive-timeout"),
    "copied": (lambda p: p.at(COPIED, lambda: p.hold("session")),
               "pg_database", "--archive-timeout"),
    "restore-point": (lambda p: p.at(b"pg_create_restore_point($1)", lambda: p.hold("session")),
                      "pg_create_restore_point doesn't answer in 2 seconds", "--archive-timeout"),
    "end": (lambda p: p.at(STOP, lambda: p.hold_answers("session")),
            "pg_backup_stop doesn't answer in 2 seconds", "--archive-timeout"),
    "last-wal": (lambda p: p.at(STOP, lambda: p.hold("replication")), "", "--archive-timeout"),
    "end-both": (lambda p: p.at(STOP, lambda: p.hold("session", "replication")), "",
                 "--archive-timeout"),
}


def statuses_after(moment):
    """A backup that could not begin is none."""
    return [] if moment.startswith("login") else ["ERROR"]


@pytest.mark.parametrize("moment", SILENCES)
def test_silence(bench, small, proxy_of, moment):
    arm, message, hint = SILENCES[moment]
    catalog, proxy = bench.catalog(small), proxy_of(small)
    arm(proxy)
    process = start_until_reached(catalog, proxy, *SHORT)
    result = failed_in_time(process, time.monotonic(), LIMIT + GRACE)
    check_error(result, message, hint)
    proxy.release()
    check_nothing_is_left(catalog, statuses_after(moment))


@pytest.mark.parametrize("moment", SILENCES)
def test_interrupt_in_silence(bench, small, proxy_of, moment):
    """Nobody waits for a server that does not answer any more."""
    catalog, proxy = bench.catalog(small), proxy_of(small)
    SILENCES[moment][0](proxy)
    process = start_until_reached(catalog, proxy)
    process.send_signal(signal.SIGINT)
    failed_in_time(process, time.monotonic(), 2)
    proxy.release()
    assert [backup["status"] for backup in catalog.show()] == statuses_after(moment)
    small.check_out_of_backup_mode()


def test_silence_while_copying(bench, source, proxy_of):
    catalog, proxy = bench.catalog(source), proxy_of(source)
    process = catalog.start_copying(*SHORT, through=proxy)
    proxy.hold("session", "replication")
    result = failed_in_time(process, time.monotonic(), LIMIT + GRACE)
    check_error(result, "the server was silent for 2 seconds", "--archive-timeout")
    proxy.release()
    check_nothing_is_left(catalog)


def test_rw_timeout_is_the_shorter_limit(bench, source, proxy_of):
    catalog, proxy = bench.catalog(source), proxy_of(source)
    process = catalog.start_copying("--rw-timeout=1s", through=proxy)
    proxy.hold("session", "replication")
    check_error(failed_in_time(process, time.monotonic(), 1 + GRACE), "silent for 1 seconds", "--rw-timeout")


def test_port_that_never_answers(bench, small):
    """TCP says yes, and then nobody does."""
    catalog = bench.catalog(small)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        result = gsp("backup", *catalog.where, "-b", "FULL", "-h", "127.0.0.1", "-p", listener.getsockname()[1],
                     *SHORT)
    assert result.code == 1 and result.seconds < LIMIT + GRACE, result
    check_error(result, "no answer in 2 seconds", "host, port and network")
    assert catalog.backups() == {}


@pytest.mark.parametrize("signalled", [False, True], ids=["limit", "interrupt"])
def test_dead_network_at_the_begin(bench, small, proxy_of, signalled):
    """Not even the request to stop the checkpoint gets through."""
    catalog, proxy = bench.catalog(small), proxy_of(small, tcp=True)
    proxy.at(BEGIN, lambda: proxy.cut("session", "replication"))
    process = start_until_reached(catalog, proxy, *SHORT)
    if signalled:
        process.send_signal(signal.SIGINT)
    failed_in_time(process, time.monotonic(), 2 if signalled else LIMIT + GRACE)
    proxy.close()
    check_nothing_is_left(catalog)


def test_dead_session_while_copying(bench, source, proxy_of):
    """WAL goes on flowing; that the idle session is gone must be found out before the end of a long backup."""
    catalog, proxy = bench.catalog(source), proxy_of(source, tcp=True)
    process = catalog.start_copying(*SHORT, through=proxy)
    proxy.cut("session")
    # The system asks the other side once a second, and gives up at the first question beyond the limit.
    result = failed_in_time(process, time.monotonic(), LIMIT + 1 + GRACE)
    check_error(result, "session that keeps the server in backup mode", "server's log")
    proxy.close()
    check_nothing_is_left(catalog)


def backends(cluster, backend_type):
    return [pid for (pid,) in cluster.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = %s AND "
                                          "application_name = 'gs_probackup'", backend_type)]


@pytest.mark.parametrize("backend_type", ["client backend", "walsender"])
def test_stopped_server_process(bench, small, proxy_of, backend_type):
    """Stopped as by a debugger, or by a disk that hangs."""
    catalog, proxy = bench.catalog(small), proxy_of(small)
    stopped = []

    def stop():
        stopped.extend(backends(small, backend_type))
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)

    proxy.at(STOP, stop)
    try:
        process = start_until_reached(catalog, proxy, *SHORT)
        result = failed_in_time(process, time.monotonic(), LIMIT + GRACE)
        assert len(stopped) == 1 and "--archive-timeout" in result.hints[0], result
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    check_nothing_is_left(catalog)


# ---- the server ends the connection --------------------------------------------------------------


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_server_is_restarted_while_copying(bench, source, mode):
    catalog = bench.catalog(source)
    process = catalog.start_copying()
    began = time.monotonic()
    source.stop(mode)
    result = failed_in_time(process, began, 5)
    source.start()
    check_error(result, "WAL streaming failed", "server's log")
    check_nothing_is_left(catalog)


def end(cluster, backend_type):
    (pid,) = backends(cluster, backend_type)
    assert cluster.sql("SELECT pg_terminate_backend(%s)", pid) == [(True,)]


@pytest.mark.parametrize("backend_type, message", [
    ("client backend", "session that keeps the server in backup mode"),
    ("walsender", "terminating connection due to administrator command")])
def test_server_ends_a_connection_while_copying(bench, source, backend_type, message):
    catalog = bench.catalog(source)
    process = catalog.start_copying()
    end(source, backend_type)
    check_error(failed_in_time(process, time.monotonic(), 2), message, "server's log")
    check_nothing_is_left(catalog)


@pytest.mark.parametrize("backend_type", ["client backend", "walsender"])
@pytest.mark.parametrize("call", [BEGIN, STOP], ids=["begin", "end"])
def test_server_ends_a_connection_at_a_call(bench, small, proxy_of, call, backend_type):
    catalog, proxy = bench.catalog(small), proxy_of(small)
    proxy.at(call, lambda: end(small, backend_type))
    process = start_until_reached(catalog, proxy, *SHORT)
    result = failed_in_time(process, time.monotonic(), LIMIT + GRACE)
    check_error(result, "connection", "server's log")
    check_nothing_is_left(catalog)


# ---- slots and WAL -------------------------------------------------------------------------------


@pytest.fixture
def kept(small):
    """A permanent slot; the tests drop it, or find it free."""
    small.sql("SELECT pg_create_physical_replication_slot('kept', true)")
    yield "kept"
    small.sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = 'kept'")


DROP = "SELECT pg_drop_replication_slot('kept')"


def slots(cluster):
    return cluster.sql("SELECT slot_name, active FROM pg_replication_slots")


def test_slot_is_dropped_before_the_stream(bench, small, proxy_of, kept):
    catalog, proxy = bench.catalog(small), proxy_of(small)
    proxy.at(STREAM, lambda: small.sql(DROP))
    process = start_until_reached(catalog, proxy, "-S", kept)
    result = failed_in_time(process, time.monotonic(), 2)
    check_error(result, 'replication slot "kept" does not exist', "--temp-slot")
    check_nothing_is_left(catalog)


def test_slot_is_dropped_while_copying(bench, small, proxy_of, kept):
    catalog, proxy = bench.catalog(small), proxy_of(small)

    def drop():
        end(small, "walsender")
        wait_until(lambda: slots(small) == [("kept", False)], "the slot to be free")
        small.sql(DROP)

    proxy.at(COPIED, drop)
    process = start_until_reached(catalog, proxy, "-S", kept)
    check_error(failed_in_time(process, time.monotonic(), 2), "terminating connection", "server's log")
    check_nothing_is_left(catalog)


def test_permanent_slot_outlives_a_failed_backup(bench, small, proxy_of, kept):
    catalog, proxy = bench.catalog(small), proxy_of(small)
    proxy.at(STOP, lambda: proxy.hold("replication"))
    process = start_until_reached(catalog, proxy, "-S", kept, *SHORT)
    failed_in_time(process, time.monotonic(), LIMIT + GRACE)
    # The server does not know yet.
    result = gsp(*catalog.backup_args("-S", kept))
    assert result.code == 1, result
    check_error(result, 'replication slot "kept" is in use', "wal_sender_timeout")
    proxy.release()
    wait_until(lambda: slots(small) == [("kept", False)], "the slot to be free")
    catalog.backup("-S", kept, "--no-validate")
    wait_until(lambda: slots(small) == [("kept", False)], "the slot to be free")


def use_up_wal(cluster):
    """More than one segment, and than what a connection holds on its way; none is needed after a crash."""
    for _ in range(4):
        cluster.sql("SELECT pg_logical_emit_message(false, 'gsp', 'x'), pg_switch_wal()")
    cluster.sql("CHECKPOINT")


@pytest.mark.parametrize("held", [False, True], ids=["before-the-stream", "receiver-is-slow"])
def test_wal_is_gone(bench, pg15, proxy_of, held):
    cluster = bench.cluster(pg15, settings="max_replication_slots = 0\nwal_keep_size = 0\n")
    catalog, proxy = bench.catalog(cluster), proxy_of(cluster)

    def lose():
        if held:
            wait_until(lambda: cluster.sql("SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'"), "the stream")
            proxy.hold("replication")
        use_up_wal(cluster)
        use_up_wal(cluster)
        proxy.release()

    proxy.at(COPIED if held else STREAM, lose)
    process = start_until_reached(catalog, proxy)
    result = failed_in_time(process, time.monotonic(), 5)
    check_error(result, "has already been removed", "wal_keep_size")
    check_nothing_is_left(catalog)


@pytest.fixture
def stingy(bench, pg15):
    """Gives up slots that hold more than two segments."""
    return bench.cluster(pg15, settings="max_slot_wal_keep_size = 32MB\n")


def test_slot_falls_behind(bench, stingy, proxy_of):
    catalog, proxy = bench.catalog(stingy), proxy_of(stingy)

    def fall_behind():
        wait_until(lambda: stingy.sql("SELECT 1 FROM pg_stat_replication WHERE state = 'streaming'"), "the stream")
        proxy.hold("replication")
        # The checkpoint ends the WAL sender, which may want to say so before it goes.
        checkpoint = threading.Thread(target=use_up_wal, args=[stingy])
        checkpoint.start()
        log = stingy.home / "server.log"
        wait_until(lambda: "to release replication slot" in log.read_text(), "the slot to be given up")
        proxy.release()
        checkpoint.join()

    proxy.at(COPIED, fall_behind)
    process = start_until_reached(catalog, proxy)
    result = failed_in_time(process, time.monotonic(), 5)
    check_error(result, "WAL streaming failed", "max_slot_wal_keep_size")
    check_nothing_is_left(catalog)


def test_slot_that_lost_its_wal(bench, stingy):
    """Refused before anything begins."""
    stingy.sql("SELECT pg_create_physical_replication_slot('kept', true)")
    use_up_wal(stingy)
    assert stingy.sql("SELECT wal_status FROM pg_replication_slots") == [("lost",)]
    catalog = bench.catalog(stingy)
    result = gsp(*catalog.backup_args("-S", "kept"))
    assert result.code == 1, result
    check_error(result, 'replication slot "kept" has lost', "drop")
    assert catalog.backups() == {}
