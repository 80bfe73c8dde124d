# SPDX-License-Identifier: Apache-2.0
"""Whatever is wrong with what the user gave: exit 1, one clear line, and nothing was changed."""
import os

import pytest

from processes import IS_ROOT, give_to_user, make_dir, snapshot
from tool import check_written, gsp, gsp_fails, gsp_ok


class Place:
    def __init__(self, shop, pg15):
        self.cluster = shop.cluster(pg15)
        self.cluster.tablespace("elsewhere")
        self.cluster.sql("CREATE TABLE far TABLESPACE elsewhere AS SELECT 1 AS id")
        self.catalog = shop.catalog(self.cluster)
        self.backup_id = self.catalog.backup()
        self.empty_catalog = shop.catalog(self.cluster)
        self.file = shop.new("file")
        self.file.write_text("x")
        give_to_user(self.file)
        self.full = make_dir(shop.new("full"))
        (self.full / "something").write_text("x")


@pytest.fixture(scope="module")
def place(shop, pg15):
    where = Place(shop, pg15)
    yield where
    where.cluster.stop("immediate")


# Arguments are format strings over: B catalog, E catalog without backups, D the cluster's directory, ID a
# backup, TS its tablespace, FILE a plain file, FULL a directory that is not empty, FREE a path that does not exist.
B = "-B {B} --instance=main"
CASES = {
    # what to do
    "no command": ("", "No subcommand specified", "help"),
    "unknown command": ("bakcup -B {B}", 'Unknown subcommand "bakcup"', "help"),
    "unknown option": ("show -B {B} --colour=red", "colour", None),
    "unknown short option": ("show -B {B} -y", "y", None),
    "option without its value": ("show -B", "B", None),
    "stray argument": ("show -B {B} stray", "stray", None),
    "option twice": (f"backup {B} -b FULL -j 2 -j 3", "should be specified only once", None),
    "help of an unknown command": ("help bakcup", 'Unknown command "bakcup"', None),
    # where
    "no catalog": ("show", "required parameter not specified: BACKUP_PATH (-B, --backup-path)", None),
    "relative catalog": ("show -B some/where", "-B, --backup-path must be an absolute path", None),
    "catalog does not exist": ("show -B {FREE}", "{FREE}", None),
    "catalog is a file": ("show -B {FILE}", "-B, --backup-path must be a path to directory", None),
    "catalog is no catalog": ("show -B {FULL}", "{FULL}", None),
    "no instance": ("backup -B {B} -b FULL", "required parameter not specified: --instance", None),
    "unknown instance": ("backup -B {B} --instance=other -b FULL", "Instance 'other' does not exist in this backup catalog",
                         "add-instance"),
    "instance with a slash": ("add-instance -B {B} -D {D} --instance=a/b", "a/b", None),
    "instance upwards": ("add-instance -B {B} -D {D} --instance=..", "..", None),
    "instance out of the catalog": ("show -B {B} --instance=../../etc", "../../etc", None),
    "hidden instance": ("add-instance -B {B} -D {D} --instance=.x", ".x", None),
    "empty instance": ("add-instance -B {B} -D {D} --instance=", "instance", None),
    "delete an instance upwards": ("del-instance -B {B} --instance=..", "..", None),
    "relative data directory": (f"backup {B} -b FULL -D data", "-D, --pgdata must be an absolute path", None),
    # numbers and words
    "id on the wrong command": ("init -B {FREE} -i {ID}", 'Cannot use -i (--backup-id) option together with the "init" command',
                                None),
    "bad id": (f"validate {B} -i ??", 'Invalid backup-id "??"', None),
    "bad number": (f"backup {B} -b FULL -j many", "-j, --threads should be a 32bit unsigned integer: 'many'", None),
    "negative number": (f"backup {B} -b FULL -j -1", "--threads should be", None),
    "too many threads": (f"validate {B} -j 100000", "Invalid value for '-j' option: 100000", None),
    "level without algorithm": (f"backup {B} -b FULL --compress-level=5",
                                "Cannot specify compress-level option alone without compress-algorithm option", None),
    "level out of range": (f"backup {B} -b FULL --compress-algorithm=zlib --compress-level=10",
                           "--compress-level value must be in the range from 0 to 9", None),
    "unknown algorithm": (f"backup {B} -b FULL --compress-algorithm=rle", "rle", None),
    "password or not": (f"backup {B} -b FULL -w -W secret", "cannot specify --password and --no-password", None),
    "long note": (f"set-backup {B} -i {{ID}} --note=" + "n" * 1025, "Backup note cannot exceed 1024 bytes", None),
    "very long note": (f"set-backup {B} -i {{ID}} --note=" + "n" * 65536, "Backup note cannot exceed 1024 bytes", None),
    "two pins": (f"set-backup {B} -i {{ID}} --ttl=1d --expire-time=2031-01-01",
                 "You cannot specify '--expire-time' and '--ttl' options together", None),
    "pin until 1900": (f"set-backup {B} -i {{ID}} --expire-time=1900-01-01",
                       "Invalid value for '--expire-time' option: '1900-01-01'", "1970"),
    "pin until a day that is none": (f"backup {B} -b FULL --expire-time=2031-02-29",
                                     "Invalid value for '--expire-time' option: '2031-02-29'", None),
    "pin for ever": (f"set-backup {B} -i {{ID}} --ttl=100000000d", "Invalid value for '--ttl' option: '100000000d'", "9999"),
    "pin for weeks": (f"backup {B} -b FULL --ttl=3w", "Invalid value for '--ttl' option: '3w'", "30d"),
    "archive and a backup": (f"show {B} --archive -i {{ID}}",
                             "You cannot specify --archive and (-i, --backup-id) options together", None),
    "unknown status": (f"delete {B} --status=FINE", "Unknown value for '--status' option: 'FINE'", None),
    "validate without validation": (f"validate {B} --no-validate",
                                    'cannot specify "--no-validate" option with the "validate" command', None),
    "validate by force": (f"validate {B} --force", 'cannot specify "--force" flag with the "validate" command', None),
    "unknown format": ("show -B {B} --format=xml", "xml", None),
    "bad unit": (f"set-config {B} --archive-timeout=5parsecs", "archive-timeout", None),
    "bad log level": (f"set-config {B} --log-level-console=loud", "log-level-console", None),
    "system identifier is not an option": (f"set-config {B} --system-identifier=1", "system-identifier", None),
    # commands
    "init in use": ("init -B {FULL}", "backup catalog already exist and it's not empty", None),
    "init twice": ("init -B {B}", "backup catalog already exist and it's not empty", None),
    "init on a file": ("init -B {FILE}", "{FILE}", None),
    "add-instance without data": ("add-instance -B {B} --instance=new", "required parameter not specified: PGDATA (-D, --pgdata)",
                                  None),
    "add-instance of nothing": ("add-instance -B {B} -D {FREE} --instance=new", "Directory does not exist: '{FREE}'", None),
    "add-instance of something else": ("add-instance -B {B} -D {FULL} --instance=new", "pg_control", None),
    "add-instance twice": ("add-instance -B {B} -D {D} --instance=main", "Instance 'main' backup directory already exists", None),
    "del-instance of nothing": ("del-instance -B {B} --instance=other", "Instance 'other' does not exist", None),
    "backup without mode": (f"backup {B}", "required parameter not specified: BACKUP_MODE (-b, --backup-mode)", None),
    "unknown mode": (f"backup {B} -b HALF", "invalid backup-mode", None),
    "show -i of all": ("show -B {B} -i {ID}", "You must specify --instance to use (-i, --backup-id) option", None),
    "show an unknown backup": (f"show {B} -i AAAAAA", "AAAAAA", None),
    "set-backup of what": (f"set-backup {B} --note=x", "You must specify parameter (-i, --backup-id) for 'set-backup' command",
                           None),
    "set-backup to what": (f"set-backup {B} -i {{ID}}", "Nothing to set by 'set-backup' command", None),
    "set-backup of an unknown one": (f"set-backup {B} -i AAAAAA --note=x", "Failed to find backup AAAAAA", None),
    "delete what": (f"delete {B}", "You must specify at least one of the delete options", None),
    "delete an unknown one": (f"delete {B} -i AAAAAA", "Failed to find backup AAAAAA, cannot delete", None),
    "validate an unknown one": (f"validate {B} -i AAAAAA", "Requested backup AAAAAA is not found", None),
    "restore an unknown one": (f"restore {B} -D {{FREE}} -i AAAAAA", "Requested backup AAAAAA is not found", None),
    "restore without backups": ("restore -B {E} --instance=main -D {FREE}", "Backup satisfying target options is not found",
                                None),
    "restore over files": (f"restore {B} -D {{FULL}}", 'Restore destination is not empty: "{FULL}"', None),
    "restore over a file": (f"restore {B} -D {{FILE}} -T {{TS}}={{FREE}}", "{FILE}", None),
    "restore over the running server": (f"restore {B} -D {{D}}", "{D}", None),
    "restore to where the instance is": (f"restore {B}", "{D}", None),
    "restore into the catalog": (f"restore {B} -D {{B}}/backups/main/{{ID}}", "not empty", None),
    "mapping without =": (f"restore {B} -D {{FREE}} -T /a", "/a", None),
    "relative mapping": (f"restore {B} -D {{FREE}} -T /a=b", "absolute", None),
    "mapping of nothing": (f"restore {B} -D {{FREE}} -T /a=/b",
                           "--tablespace-mapping option's old directory doesn't have an entry in tablespace_map file: \"/a\"",
                           None),
    "plugin of what": ("plugin", "plugin", "list"),
    "unknown plugin": ("plugin info server.db9", "db9", None),
}


@pytest.mark.parametrize("case", CASES)
def test_refusal(place, bench, case):
    line, message, hint = CASES[case]
    free = bench.new("free")
    names = {"B": place.catalog.path, "E": place.empty_catalog.path, "D": place.cluster.data, "ID": place.backup_id,
             "FILE": place.file, "FULL": place.full, "FREE": free, "TS": place.cluster.home / "elsewhere"}
    gsp_fails(*[word.format(**names) for word in line.split()], message=message.format(**names), hint=hint,
              unchanged=[place.catalog.path, place.empty_catalog.path, place.file, place.full, free,
                         place.cluster.data / "PG_VERSION", place.cluster.home / "elsewhere"])


def test_instance_without_its_settings(place, bench):
    catalog = place.catalog.copy(bench.new("catalog"))
    catalog.config_file.unlink()
    for command in ("show-config", "validate", "set-config", "backup"):
        gsp_fails(command, *catalog.where, *(["-b", "FULL"] if command == "backup" else []),
                  message=f"cannot open file '{catalog.config_file}'", hint="put the file back", unchanged=[catalog.path])


def test_notes_and_pins_that_are_odd_but_good(place, bench):
    catalog = place.catalog.copy(bench.new("catalog"))
    one = ["set-backup", *catalog.where, "-i", place.backup_id]
    for note, shown in ((os.fsdecode(b"caf\xe9 \xff"), "caf\ufffd \ufffd"), ("\u5907\u4efd \U0001f418", "\u5907\u4efd \U0001f418"),
                        ("it's = \"so\" # ;", "it's = \"so\" # ;"), ("first\nsecond", "first"), ("n" * 1000, "n" * 1000)):
        gsp_ok(*one, f"--note={note}", errors="surrogateescape")
        assert catalog.backups()[place.backup_id]["note"] == shown
    assert gsp("show", *catalog.where, "-i", place.backup_id, errors="surrogateescape").code == 0
    # An hour that is left out, one that comes twice, a zone of half an hour, and the last day.
    for zone, given, shown in (("Europe/Berlin", "2026-03-29 02:30:00", "2026-03-29 03:30:00+02"),
                               ("Europe/Berlin", "2026-10-25 02:30:00", "2026-10-25 02:30:00+01"),
                               ("Asia/Kolkata", "2031-01-01", "2031-01-01 00:00:00+05:30"),
                               ("Asia/Kolkata", "2031-01-01 00:00:00Z", "2031-01-01 05:30:00+05:30"),
                               ("UTC", "9999-12-30 23:59:59", "9999-12-30 23:59:59+00")):
        gsp_ok(*one, f"--expire-time={given}", env={"TZ": zone})
        text = gsp_ok("show", *catalog.where, "-i", place.backup_id, "--format=json", env={"TZ": zone}).out
        assert f'"expire-time": "{shown}"' in text, (zone, given)
    check_written(catalog.dir(place.backup_id))


def test_empty_catalog_is_no_error(place, bench):
    path = bench.new("catalog")
    gsp_ok("init", "-B", path)
    shown = gsp_ok("show", "-B", path)
    assert "This backup catalog contains no backup instances" in shown.warnings[0], shown
    assert gsp_ok("validate", "-B", path).code == 0


# The server and its directory.


def backup_fails(catalog, *args, message, hint=None, **kwargs):
    return gsp_fails("backup", *catalog.where, "-b", "FULL", "--no-sync", *args, message=message, hint=hint, **kwargs)


def test_no_server_there(place, bench):
    nobody = make_dir(bench.new("sockets"))
    backup_fails(place.catalog, "-h", nobody, "-U", "postgres", "-d", "postgres", message="could not connect to database",
                 unchanged=[place.catalog.path])


def test_unknown_database_and_user(place):
    options = ["-h", place.cluster.socket_dir, "-p", "5432"]
    backup_fails(place.catalog, *options, "-U", "postgres", "-d", "nowhere", message='database "nowhere" does not exist',
                 unchanged=[place.catalog.path])
    backup_fails(place.catalog, *options, "-U", "nobody", "-d", "postgres", message='role "nobody" does not exist',
                 unchanged=[place.catalog.path])


def test_user_without_the_right_to_back_up(place):
    place.cluster.sql("DROP ROLE IF EXISTS guest; CREATE ROLE guest LOGIN")
    backup_fails(place.catalog, "-h", place.cluster.socket_dir, "-p", "5432", "-U", "guest", "-d", "postgres",
                 message="guest", hint="GRANT EXECUTE", unchanged=[place.catalog.path])
    place.cluster.sql("GRANT EXECUTE ON FUNCTION pg_backup_start(text, boolean), pg_backup_stop(boolean), "
                      "pg_create_restore_point(text) TO guest")
    backup_fails(place.catalog, "-h", place.cluster.socket_dir, "-p", "5432", "-U", "guest", "-d", "postgres",
                 message="replication", hint="REPLICATION", unchanged=[place.catalog.path])
    place.cluster.sql("ALTER ROLE guest REPLICATION")
    gsp_ok("backup", *place.catalog.where, "-b", "FULL", "--no-sync", "-h", place.cluster.socket_dir, "-p", "5432", "-U",
           "guest", "-d", "postgres")
    place.cluster.check_out_of_backup_mode()


def test_directory_of_another_cluster(place, bench, pg15):
    other = bench.cluster(pg15, fresh=True)
    backup_fails(place.catalog, *place.cluster.connection_options, "-D", other.data, message="system id",
                 unchanged=[place.catalog.path])
    # Connected to another server than the instance's.
    backup_fails(place.catalog, *other.connection_options, message="system id", unchanged=[place.catalog.path])


def test_file_that_cannot_be_read(bench, pg15):
    source = bench.cluster(pg15)
    catalog = bench.catalog(source)
    locked = source.data / "base" / "1" / "locked"
    locked.write_text("x")
    give_to_user(locked)
    locked.chmod(0)
    result = gsp(*catalog.backup_args())
    assert result.code == 1 and len(result.errors) == 1, result
    assert "base/1/locked" in result.errors[0] and "Permission denied" in result.errors[0], result
    assert not [b for b in catalog.show() if b["status"] in ("OK", "DONE")]
    source.check_out_of_backup_mode()
    locked.unlink()
    catalog.backup()


@pytest.mark.parametrize("what", ["backup", "restore"])
def test_root_is_refused(place, bench, what):
    if not IS_ROOT:
        pytest.skip("needs root, to be refused")
    target = bench.new("data")
    if what == "restore":  # over a directory of the server's user, whose files root would take away
        make_dir(target)
        arguments = ["restore", *place.catalog.where, "-D", target]
    else:
        arguments = place.catalog.backup_args()
    gsp_fails(*arguments, as_root=True, message="", hint="postgres", unchanged=[place.catalog.path, target])


def test_catalog_that_may_not_be_written(place, bench):
    catalog = place.catalog.copy(bench.new("catalog"))
    instance = catalog.path / "backups" / "main"
    instance.chmod(0o500)
    backup_fails(catalog, *place.cluster.connection_options, message="Permission denied", unchanged=[catalog.path])
    instance.chmod(0o700)
    place.cluster.check_out_of_backup_mode()


def test_restore_where_one_may_not_write(place, bench):
    parent = make_dir(bench.new("parent"), 0o500)
    before = snapshot(place.catalog.path)
    gsp_fails("restore", *place.catalog.where, "-D", parent / "data", "-T", f"{place.cluster.home / 'elsewhere'}={bench.new('ts')}",
              message="Permission denied", unchanged=[parent])
    assert snapshot(place.catalog.path) == before
