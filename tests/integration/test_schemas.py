# SPDX-License-Identifier: Apache-2.0
"""What programs read: JSON of every command is as docs/schemas says, with the stock tool's keys in their order. And what
only looks changes nothing."""
import json

import pytest

import strict_reader
from processes import give_to_user, run
from tool import BINARY, REPOSITORY, gsp, gsp_ok

SCHEMAS = REPOSITORY / "docs" / "schemas"

# The keys of a backup as the stock tool prints them, in its order.
STOCK = """id parent-backup-id backup-mode wal compress-alg compress-level from-replica block-size xlog-block-size
    checksum-version program-version server-version current-tli parent-tli start-lsn stop-lsn start-time end-time recovery-xid
    recovery-time recovery-name expire-time data-bytes wal-bytes uncompressed-bytes pgdata-bytes dssdata-bytes external-dirs
    status note content-crc""".split()

# Name of the schema: how to get such JSON. "log" is asked for otherwise.
OUTPUTS = {
    "show": "show -B {B} --format=json",
    "show-archive": "show -B {B} --instance=main --archive --format=json",
    "show-config": "show-config {WHERE} --format=json",
    "show-config-origin": "show-config {WHERE} --origin --format=json",
    "plugin-list": "plugin list --format=json",
    "plugin-info": "plugin info server-postgresql --format=json",
    "help": "help --format=json",
    "restore-plan": "restore {WHERE} -D {NEW} --plan --format=json",
    "check": "check {WHERE} {CONNECTION} --format=json",
    "log": None,
}


class Place:
    def __init__(self, shop, pg15):
        self.shop = shop
        self.cluster = shop.cluster(pg15)
        self.catalog = shop.catalog(self.cluster)
        self.log = self.catalog.path / "log" / "json.log"
        logging = ["--log-level-file=verbose", "--log-format-file=json", "--log-filename=json.log"]
        self.full = self.catalog.backup(*logging, "--note=a \"note\", with 'quotes' and \\ü", check=False)
        self.delta = self.catalog.backup("--ttl=30d", *logging, mode="DELTA", check=False)
        gsp("validate", *self.catalog.where, "-i", "ZZZZZZ", *logging)
        archive = self.catalog.path / "wal" / "main"
        for segment in sorted((self.catalog.dir(self.full) / "database" / "pg_wal").glob("0*")):
            copy = archive / segment.name
            copy.write_bytes(segment.read_bytes())

    def line(self, name):
        return [str(word).replace("{B}", str(self.catalog.path)).replace("{NEW}", str(self.shop.new("data")))
                for part in OUTPUTS[name].split()
                for word in {"{WHERE}": self.catalog.where,
                             "{CONNECTION}": self.cluster.connection_options}.get(part, [part])]


@pytest.fixture(scope="module")
def place(shop, pg15):
    where = Place(shop, pg15)
    yield where
    where.cluster.stop("immediate")


def schema_of(name):
    return json.loads((SCHEMAS / f"{name}.json").read_text())


def check_keys(schema, value, root, where="$"):
    """Nothing that the schema does not speak of, and all in its order: additions come last."""
    while "$ref" in schema:
        _, definitions, name = schema["$ref"].split("/")
        schema = root[definitions][name]
    if isinstance(value, list):
        for i, item in enumerate(value):
            check_keys(schema.get("items", {}), item, root, f"{where}[{i}]")
    elif isinstance(value, dict):
        known = schema.get("properties", {})
        order = list(known)
        if known:
            assert set(value) <= set(known), f"{where}: {set(value) - set(known)}"
            assert list(value) == sorted(value, key=order.index), where
        for key, item in value.items():
            check_keys(known.get(key, schema.get("additionalProperties", {})), item, root, f"{where}.{key}")


def check_json(name, text):
    jsonschema = pytest.importorskip("jsonschema")
    schema = schema_of(name)
    validator = jsonschema.validators.validator_for(schema)
    validator.check_schema(schema)
    value = json.loads(text)
    validator(schema).validate(value)
    check_keys(schema, value, schema)
    return value


def test_every_command_with_json_has_a_schema():
    assert {path.stem for path in SCHEMAS.iterdir()} == set(OUTPUTS)
    (takes_format,) = [o for o in json.loads(gsp_ok("help", "--format=json").out)["options"] if o["name"] == "format"]
    assert {"show", "show-config", "plugin", "check", "restore"} <= set(takes_format["commands"])
    for command in takes_format["commands"]:
        assert any(name == command or name.startswith(command + "-") for name in OUTPUTS), command
    assert list(schema_of("show")["$defs"]["backup"]["properties"])[:len(STOCK)] == STOCK


@pytest.mark.parametrize("name", [name for name, line in OUTPUTS.items() if line is not None])
def test_json(place, name):
    # check answers in its exit code what it found.
    done = run([BINARY, *place.line(name)], check=False)
    assert done.returncode in ((0, 1, 2) if name == "check" else (0,)), done
    value = check_json(name, done.stdout)
    if name == "show":
        backups = {b["id"]: b for b in value["backup_info"][0]["backups"]}
        assert backups[place.full]["note"] == "a \"note\", with 'quotes' and \\ü"
        assert backups[place.delta]["parent-backup-id"] == place.full


def test_json_log(place):
    lines = [check_json("log", line) for line in place.log.read_text().splitlines()]
    assert {"VERBOSE", "LOG", "INFO", "ERROR"} <= {line["level"] for line in lines}
    (error,) = [line for line in lines if line["level"] == "ERROR"]
    assert (error["class"], error["backup-id"], error["instance"]) == ("notfound", "ZZZZZZ", "main")
    assert {line.get("backup-id") for line in lines} >= {place.full, place.delta}
    assert sum(line["message"].startswith("command: ") for line in lines) == 3


def identity(tree):
    return {str(path): (st.st_ino, st.st_mode, st.st_size, st.st_mtime_ns, st.st_ctime_ns)
            for path in [tree, *sorted(tree.rglob("*"))] for st in [path.lstat()]}


def test_show_writes_nothing(place, bench):
    catalog = place.catalog.copy(bench.new("catalog"))
    control = catalog.dir(place.delta) / "backup.control"
    control.write_text(control.read_text().replace("status = OK", "status = RUNNING"))
    (catalog.dir(place.delta) / "backup.pid").write_text("4194304999\n")
    give_to_user(catalog.dir(place.delta) / "backup.pid")
    run(["chmod", "-R", "a-w", catalog.path])
    before = identity(catalog.path)
    for line in (["show", "-B", catalog.path], ["show", *catalog.where], ["show", *catalog.where, "-i", place.delta],
                 ["show", *catalog.where, "--format=json"], ["show", *catalog.where, "--archive"], ["show-config", *catalog.where]):
        gsp_ok(*line)
    # Of a backup whose process is gone nobody waits for the end.
    assert catalog.status(place.delta) == "ERROR"
    assert identity(catalog.path) == before
    run(["chmod", "-R", "u+w", catalog.path])

    # Whoever takes its lock writes that down.
    twin = catalog.copy(bench.new("catalog"))
    result = gsp_ok("set-backup", *catalog.where, "-i", place.delta, "--note=left alone")
    assert any("its process is gone" in line for line in result.warnings), result
    found = strict_reader.read_control(control)
    assert (found["status"], found["note"]) == ("ERROR", "left alone")
    result = gsp("validate", *twin.where)
    assert result.code == 1 and any("change it to ERROR" in line for line in result.warnings), result
    assert strict_reader.read_control(twin.dir(place.delta) / "backup.control")["status"] == "ERROR"
