# SPDX-License-Identifier: Apache-2.0
"""Every option with every command. The rows come from the program (`help --format=json`): a new one is walked without
anybody thinking of it. No server is needed: with --help at its end a line is understood, and nothing is done."""
import functools
import itertools
import json

import pytest

from processes import give_to_user, make_dir, snapshot
from tool import gsp, gsp_fails, gsp_ok


@functools.lru_cache(maxsize=None)
def listing():
    return json.loads(gsp_ok("help", "--format=json").out)


COMMANDS = [command["name"] for command in listing()["commands"]]
OPTIONS = {option["name"]: option for option in listing()["options"]}
IDS = {"ids": lambda value: value if isinstance(value, str) else value["name"]}

GOOD = {
    "string": ["/x", "a b;c'#\""], "text": ["x", ""], "u32": ["1", "0", "0x7"], "i32": ["1", "-2147483648", "2147483647"],
    "u64": ["1"], "duration": ["10s", "0", "1ms", "3 d", "2min", "4h"], "size": ["10MB", "0", "1024TB", "7 kB"],
    "timestamp": ["2031-01-01", "1970-01-03", "9999-12-30 23:59:59+00", "2031-01-01T10:20:30Z", "2031-01-01 10:20:30+05:30"],
    "backup-id": ["TOWBGI"], "mapping": ["/a=/b"], "setting": ["compressor.zlib.level=3"],
}
BAD = {
    "string": [""], "u32": ["", "-1", "1.5", "many", "1 2", "4294967296", "9" * 30], "text": [], "setting": ["x", "a.b"],
    "i32": ["", "2147483648", "-2147483649", "x"], "u64": ["", "-1", "18446744073709551616"],
    "duration": ["", "-1", "5parsecs", "1.5h", "5S", "5 m", "9223372036855s", "9" * 30],
    "size": ["", "-1kB", "5mb", "1.5GB", "18446744073709551615TB", "9" * 30],
    "timestamp": ["", "yesterday", "1900-01-01", "2026-02-30", "9999-12-31 23:59:59+00", "2026-01-01 00:00:00+99", "2026-01"],
    "backup-id": ["", "??", "Z" * 40], "mapping": ["", "/a", "a=/b", "/a=b"],
}
# Where a recovery ends is checked as a whole. Good values, bad ones.
TARGETS = {
    "recovery-target-time": (["2026-01-01 10:00:00.5+00"], ["", "yesterday", "2026-02-30"]),
    "recovery-target-xid": (["730"], ["", "-1", "x"]),
    "recovery-target-lsn": (["0/3000028"], ["", "0", "x/y"]),
    "recovery-target-name": (["here"], [""]),
    "recovery-target-inclusive": (["true"], ["", "maybe"]),
    "timeline": (["2"], ["", "-1", "4294967296"]),
}
# Values that only the command itself looks at, so that it has to run.
CHECKED_BY_COMMAND = ("enum", "backup-id", "mapping", "recovery-target")


def good(option):
    if "values" in option:
        return option["values"]
    if option["type"] == "recovery-target":
        return TARGETS[option.get("alias-of", option["name"])][0]
    return GOOD[option["type"]] + ([str(option["max"])] if "max" in option else [])


def bad(option):
    if "values" in option:
        return ["", "x-ray/"]
    if option["type"] == "recovery-target":
        return TARGETS[option.get("alias-of", option["name"])][1]
    return BAD[option["type"]] + ([str(option["max"] + 1)] if "max" in option else [])


def has_value(option):
    return option["type"] != "flag"


def given(option, name=None, value=None):
    """The words of a line that give an option, under another of its names perhaps."""
    if not has_value(option):
        return [name or f"--{option['name']}"]
    value = good(option)[0] if value is None else value
    if name is not None and not name.startswith("--"):
        return [name, value]
    return [f"{name or '--' + option['name']}={value}"]


def primary(options):
    return [o for o in options if "alias-of" not in o]


def fate(option, command):
    for what, commands in (("taken", "commands"), ("unsupported", "unsupported"), ("refused", "refused")):
        if command in option[commands]:
            return what
    return "ignored"


def options_of(command, what="taken"):
    return [o for o in OPTIONS.values() if fate(o, command) == what]


def takes(option):
    """A command that takes an option."""
    return next(iter(option["commands"]), None)


def understood(command, *words):
    """A line without fault: the help of the command comes, and nothing else."""
    result = gsp_ok(command, *words, "--help", as_root=True)
    assert result.err == "" and result.out.startswith(f"gs_probackup {command} "), result
    return result


# The exit code of a failure, where monitoring wants another one than 1.
FAILED = {"check": 3}


def fails(command, *words):
    result = gsp(command, *words, as_root=True, codes=(FAILED.get(command, 1),))
    assert len(result.errors) == 1 and result.out == "", result
    return result


def refused(command, *words, message):
    result = fails(command, *words, "--help")
    assert message.lower() in result.errors[0].lower(), result
    return result


def flat(lists):
    return list(itertools.chain.from_iterable(lists))


@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_command_takes(command):
    taken = options_of(command)
    assert {"help", "config", "set"} <= {o["name"] for o in taken}
    understood(command, *flat(given(o) for o in primary(taken)))
    understood(command, *flat(given(o, f"-{o['short']}") for o in taken if "short" in o))
    understood(command, *flat(given(o) for o in taken if "alias-of" in o))
    # Flags may stand twice, as in stock scripts, and what is repeatable may.
    understood(command, *flat(2 * given(o) for o in taken if o["repeatable"] or not has_value(o)))
    shown = understood(command).out
    for option in taken:
        assert (f"--{option['name']}" in shown.replace("=", " ").split()) == ("help" in option), option["name"]


@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_command_does_not_take(command):
    ignored = options_of(command, "ignored")
    result = gsp_ok(command, *flat(given(o) for o in ignored), "--help", as_root=True)
    assert result.warnings == [f"option --{o['name']} has no meaning for '{command}' and is ignored" for o in ignored], result
    for option in options_of(command, "unsupported"):
        result = refused(command, *given(option),
                         message=f"option --{option['name']} is not supported yet with '{command}'")
        assert f"gs_probackup help {command}" in result.hints[0], result
    for option in options_of(command, "refused"):
        text = refused(command, *given(option), message=f'the "{command}" command').errors[0]
        assert f"--{option['name']}" in text, text


def shortest(name):
    """The shortest beginning that is nobody else's."""
    for length in range(1, len(name) + 1):
        if not any(other.startswith(name[:length]) for other in OPTIONS if other != name):
            return name[:length]
    return name


@pytest.mark.parametrize("command", COMMANDS)
def test_abbreviations(command):
    understood(command, *flat(given(o, f"--{shortest(o['name'])}") for o in primary(options_of(command))))


def test_abbreviations_that_are_too_short():
    for name in OPTIONS:
        start = shortest(name)[:-1]
        if start and start not in OPTIONS:
            text = refused("backup", f"--{start}=x", message=f"'--{start}'").errors[0]
            assert any(words in text for words in ("is ambiguous; possibilities: --", "is too short; write --",
                                                   "Option is not found")), text


def test_given_twice():
    for option in OPTIONS.values():
        if not has_value(option) or option["repeatable"] or takes(option) is None:
            continue
        names = [option.get("alias-of", option["name"]), option["name"]]
        text = refused(takes(option), *flat(given(option, f"--{name}") for name in names),
                       message=f"--{option['name']} should be specified only once: '").errors[0]
        value = "***" if option["secret"] else good(option)[0]
        assert text.endswith(f"'{value}'"), text
        if "short" in option:
            assert f"Option -{option['short']}, --" in text, text


def test_values_or_none():
    for option in OPTIONS.values():
        command = takes(option)
        if command is None:
            continue
        if has_value(option):
            result = fails(command, f"--{option['name']}")
            message = f"option '--{option['name']}' is used the wrong way: it takes a value"
        else:
            result = fails(command, f"--{option['name']}=x")
            message = f"option '--{option['name']}' is used the wrong way: it takes no value"
        assert result.errors == [message], result


def test_good_values():
    for option in primary(OPTIONS.values()):
        for value in good(option)[1:] if takes(option) and has_value(option) else []:
            understood(takes(option), *given(option, value=value))


def says_which(option, text):
    """Words of stock messages that mean the option."""
    words = {"backup-mode": "backup-mode", "format": "show format", "backup-id": "backup-id", "media-type": "media type",
             "tablespace-mapping": "mapping", "external-mapping": "mapping"}
    return words.get(option["name"], f"--{option['name']}") in text


def test_bad_values():
    for option in primary(OPTIONS.values()):
        if takes(option) is None or not has_value(option) or option["type"] in CHECKED_BY_COMMAND and not option["stored"]:
            continue
        for value in bad(option):
            result = refused(takes(option), *given(option, value=value), message="")
            assert says_which(option, result.errors[0]), result
            assert option["secret"] or value[:200] in result.errors[0] or "in the range" in result.errors[0], result


class Tiny:
    """A catalog with an instance and no backup: as far as a command comes before it needs one."""

    def __init__(self, shop):
        self.path = shop.new("catalog")
        self.data = make_dir(shop.new("data"))
        gsp_ok("init", "-B", self.path)
        for folder in ("backups", "wal"):
            make_dir(self.path / folder / "main")
        self.conf = self.path / "backups" / "main" / "pg_probackup.conf"
        self.write(f"system-identifier = 1\npgdata = '{self.data}'\n")

    def write(self, text):
        self.conf.write_text(text)
        give_to_user(self.conf)

    @property
    def where(self):
        return ["-B", self.path, "--instance=main"]

    def settings(self, *args, **kwargs):
        return json.loads(gsp_ok("show-config", *self.where, "--origin", "--format=json", *args, **kwargs).out)


@pytest.fixture
def tiny(bench):
    return Tiny(bench)


def test_bad_values_that_a_command_finds(tiny):
    walked = 0
    before = snapshot(tiny.path)
    for option in primary(OPTIONS.values()):
        if takes(option) is None or option["type"] not in CHECKED_BY_COMMAND or option["stored"]:
            continue
        for command, value in itertools.product(option["commands"], bad(option)):
            if command == "plugin" and option["name"] != "format":
                continue  # has no catalog to look at
            words = ["list"] if command == "plugin" else [
                w for w in tiny.where if fate(OPTIONS["instance"], command) == "taken" or not str(w).startswith("--inst")]
            words += ["-b", "FULL"] if command == "backup" and option["name"] != "backup-mode" else []
            result = fails(command, *words, *given(option, value=value))
            assert says_which(option, result.errors[0]), result
            walked += 1
    assert walked > 20
    assert snapshot(tiny.path) == before


# Where settings come from: the last of these that says something counts.
SOURCES = ["default", "site configuration", "environment", "pg_probackup.conf", "command line"]
STORED = [o for o in OPTIONS.values() if o["stored"]]


def setting(option, source):
    """A value that no other source has, in the form in which it is kept."""
    n = 1 + SOURCES.index(source)
    return {"string": f"/from/{n}", "u32": str(n), "i32": str(n), "duration": f"{n}s", "size": f"{n}MB",
            "flag": ("false", "true")[n % 2]}.get(option["type"]) or \
        (option["values"][n].upper() if option["name"].startswith("log-level") else option["values"][n % 5])


def check_sources(shown, given_by):
    """given_by: name -> the sources that have said something."""
    for option in STORED:
        strongest = max(given_by(option), key=SOURCES.index, default="default")
        entry = shown.get(option["name"])
        if strongest == "default":
            assert (entry or {}).get("value") == option.get("default") or entry["source"] == "default", option["name"]
            continue
        assert entry["source"] == strongest, (option["name"], entry)
        assert entry["value"] in ("***" if option["secret"] else setting(option, strongest), ), (option["name"], entry)


def test_precedence_of_every_setting(tiny, bench):
    site = bench.new("site.yaml")
    site.write_text("defaults:\n" + "".join(f"  {o['name']}: '{setting(o, 'site configuration')}'\n" for o in STORED))
    give_to_user(site)
    variables = {o["environment"]: setting(o, "environment") for o in STORED if "environment" in o}
    line = flat(given(o, value=setting(o, "command line")) for o in STORED if "show-config" in o["commands"])
    tiny.write("system-identifier = 1\n")

    said = lambda option: ["default"]
    check_sources(tiny.settings(), said)
    said = lambda option: ["site configuration"]
    check_sources(tiny.settings("--config", site), said)
    said = lambda option: ["site configuration"] + ["environment"] * ("environment" in option)
    check_sources(tiny.settings("--config", site, env=variables), said)
    said = lambda option: ["environment"] * ("environment" in option)
    check_sources(tiny.settings(env=variables), said)
    tiny.write("system-identifier = 1\n" + "".join(f"{o['name']} = {setting(o, 'pg_probackup.conf')}\n" for o in STORED))
    before = snapshot(tiny.path)
    said = lambda option: ["environment"] * ("environment" in option) + ["pg_probackup.conf"]
    check_sources(tiny.settings("--config", site, env=variables), said)
    said = lambda option: ["pg_probackup.conf"] + ["command line"] * ("show-config" in option["commands"])
    check_sources(tiny.settings("--config", site, *line, env=variables), said)
    assert snapshot(tiny.path) == before


def test_set_config_keeps_every_setting(tiny):
    tiny.write("system-identifier = 1\n")
    kept = [o for o in STORED if "set-config" in o["commands"]]
    gsp_ok("set-config", *tiny.where, *flat(given(o, value=setting(o, "pg_probackup.conf")) for o in kept))
    shown = tiny.settings()
    for option in kept:
        assert shown[option["name"]]["value"] == setting(option, "pg_probackup.conf"), option["name"]
        assert shown[option["name"]]["source"] == "pg_probackup.conf", option["name"]


def test_pin_of_a_backup_without_a_recovery_time(tiny):
    """What failed has none, so nothing can be counted from it; a moment is a moment."""
    folder = make_dir(tiny.conf.parent / "TOWK0I")
    control = folder / "backup.control"
    control.write_text("backup-mode = FULL\nstatus = ERROR\nstart-time = '2026-11-22 12:00:18+00'\n")
    give_to_user(control)
    backup_id = folder.name
    one = ["set-backup", *tiny.where, "-i", backup_id]
    gsp_fails(*one, "--ttl=1d", message=f"Failed to set 'expire-time' for backup {backup_id}: invalid 'recovery-time'",
              unchanged=[tiny.path])
    assert gsp_ok(*one, "--ttl=0").warnings == [f"Backup {backup_id} is not pinned, nothing to unpin"]
    assert "pinned until" in gsp_ok(*one, "--expire-time=2031-01-01").err
    assert "is unpinned" in gsp_ok(*one, "--ttl=0").err
    assert "Removing note" in gsp_ok(*one, "--note=none").err


def test_bad_values_in_files(tiny, bench):
    """Of the instance and of the site: file and place are named, nothing is left out silently."""
    site = bench.new("site.yaml")
    for option in STORED:
        value = "maybe" if not has_value(option) else bad(option)[0] if option["type"] == "string" else bad(option)[-1]
        tiny.write(f"system-identifier = 1\n\n{option['name']} = '{value}'\n")
        gsp_fails("show-config", *tiny.where, message=f"{tiny.conf}:3:", as_root=True)
        tiny.write("system-identifier = 1\n")
        site.write_text(f"defaults:\n  {option['name']}: '{value}'\n")
        text = gsp_fails("show-config", *tiny.where, "--config", site, message=f"{site}:2:", as_root=True).errors[0]
        assert option["name"] in text or "in the range" in text, text


def test_catalog_and_data_directory_from_the_environment(tiny, bench):
    elsewhere = bench.new("elsewhere")
    assert "INSTANCE 'main'" in gsp_ok("show", env={"BACKUP_PATH": tiny.path}).out
    gsp_fails("show", "-B", elsewhere, env={"BACKUP_PATH": tiny.path}, message=f"{elsewhere}")
    gsp_fails("show", env={"BACKUP_PATH": "some/where"}, message="-B, --backup-path must be an absolute path")
    gsp_fails("show", env={"BACKUP_PATH": ""}, message="required parameter not specified: BACKUP_PATH")
    add = ["add-instance", "-B", tiny.path, "--instance=other"]
    gsp_fails(*add, env={"PGDATA": elsewhere}, message=f"Directory does not exist: '{elsewhere}'")
    gsp_fails(*add, "-D", f"{elsewhere}2", env={"PGDATA": elsewhere}, message=f"Directory does not exist: '{elsewhere}2'")
    gsp_fails(*add, env={"PGDATA": "data"}, message="-D, --pgdata must be an absolute path")


def test_listing_for_programs():
    assert gsp_ok("help", "--format=j").out == gsp_ok("help", "--format=json").out
    assert gsp_ok("help", "--format=plain").out == gsp_ok("help").out
    gsp_fails("help", "--format=xml", message='Invalid show format "xml"', hint="plain or json")
    for option in OPTIONS.values():
        places = [set(option[key]) for key in ("commands", "unsupported", "refused")]
        assert len(set().union(*places)) == sum(map(len, places)) and set().union(*places) <= set(COMMANDS)
