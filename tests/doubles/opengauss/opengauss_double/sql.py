# SPDX-License-Identifier: Apache-2.0
"""The statements of a backup tool, answered by SQLite over what the server would know.

Functions and views are those that a real server has (and that somebody asked for): what is not here is answered with an
error that names the statement, so that a test shows it."""
import re
import sqlite3

from .wire import BOOL, TEXT, ServerError

BOOLEAN_COLUMNS = {"active", "rolsuper", "rolreplication", "rolsystemadmin", "rolcanlogin", "rolinherit", "dummy_standby",
                   "usesuper", "userepl", "rel_dropped", "rel_created", "rel_truncated", "datistemplate", "datallowconn"}
BOOLEAN_FUNCTIONS = {"pg_is_in_recovery", "has_function_privilege", "pg_has_role"}
ALIAS = re.compile(r"\s*(?:AS\s+)?(?!(?:WHERE|ORDER|LIMIT|JOIN|AND|UNION)\b)([a-z_]\w*)(?:\s*\(([^)]*)\))?", re.I)
INTEGER_CAST = re.compile(r"::\s*(pg_catalog\.)?(int8|bigint)\b", re.I)
COMPARISON = re.compile(r"(?<![<>!=])=|<>|!=|[<>]|\bAND\b|\bOR\b|\bIS\b|\bIN\b|\bLIKE\b|\bEXISTS\b", re.I)


def balanced(sql, start):
    """Where the parenthesis that opens at start is closed, as an index behind it."""
    depth, quoted = 0, False
    for i in range(start, len(sql)):
        if sql[i] == "'":
            quoted = not quoted
        elif not quoted:
            depth += (sql[i] == "(") - (sql[i] == ")")
            if depth == 0:
                return i + 1
    raise ServerError(f"unbalanced parentheses in: {sql}", "42601")


def blank_nested(sql):
    """The text with everything within quotes and parentheses blanked: what is left is its top level."""
    out, depth, quoted = [], 0, False
    for c in sql:
        if c == "'":
            quoted = not quoted
        if not quoted:
            depth -= c == ")"
        out.append(" " if quoted or depth > 0 else c)
        if not quoted:
            depth += c == "("
    return "".join(out)


def split_list(sql):
    """The parts between the commas of the top level."""
    top, parts, last = blank_nested(sql), [], 0
    for i, c in enumerate(top):
        if c == ",":
            parts.append(sql[last:i])
            last = i + 1
    return [part.strip() for part in (*parts, sql[last:])]


def select_list(sql):
    top = blank_nested(sql)
    end = re.search(r"\bFROM\b|\bWHERE\b|\bORDER\b|\bLIMIT\b|$", top, re.I).start()
    return split_list(sql[len("SELECT"):end])


def is_boolean(item, name):
    """Is this part of a select list one of true and false? SQLite does not know the difference."""
    if name.lower() in BOOLEAN_COLUMNS:
        return True
    item = re.sub(r"\s+AS\s+\w+$", "", item, flags=re.I)
    call = re.match(r"(\w+)\s*\(", item)
    if call and balanced(item, call.end() - 1) == len(item):
        return call[1].lower() in BOOLEAN_FUNCTIONS or call[1].upper() in ("EXISTS", "NOT")
    return bool(re.match(r"(NOT|EXISTS)\b", item, re.I) or COMPARISON.search(blank_nested(item)))


def translate(sql):
    """To SQLite's language; what is no difference stays."""
    sql = re.sub(r"\bpg_catalog\.", "", sql)
    sql = re.sub(r"::\s*[a-z_]\w*(\(\d+\))?( with(out)? time zone)?", "", sql, flags=re.I)
    sql = re.sub(r"\bextract\s*\(\s*epoch\s+from\s+", "date_part('epoch', ", sql, flags=re.I)
    sql = re.sub(r"\bcurrent_timestamp\b(\s*\(\d\))?", "clock_timestamp()", sql, flags=re.I)
    sql = re.sub(r"\b(current_user|session_user)\b(?!\s*\()", "\\1()", sql, flags=re.I)
    sql = re.sub(r"\(\s*(\w+)\s*\(\s*\)\s*\)\s*\.\s*(\w+)", r"\1__\2()", sql)  # a field of what a function gives
    return re.sub(r"\$(\d+)", r"?\1", sql)


class Database:
    """One statement's view of the server. functions: name -> a callable of text values; relations: name -> a callable
    without arguments (a view) or with those of the call (a function in FROM), which gives (columns, rows)."""

    def __init__(self, functions, views, table_functions):
        self.functions, self.views, self.table_functions = functions, views, table_functions
        self.raised = None

    def _guard(self, function):
        def call(*args):
            try:
                value = function(*args)
            except Exception as e:  # SQLite would only say that there was one
                self.raised = e
                raise
            return int(value) if isinstance(value, bool) else value
        return call

    def _fill(self, db, name, columns, rows):
        names = ", ".join(f'"{column}"' for column in columns)
        db.execute(f'CREATE TABLE "{name}" ({names})')
        marks = ", ".join("?" * len(columns))
        db.executemany(f'INSERT INTO "{name}" VALUES ({marks})',
                       [[int(v) if isinstance(v, bool) else v for v in row] for row in rows])

    def _call_tables(self, db, sql, params):
        """Functions in FROM become tables, made before the statement runs."""
        pattern = re.compile(r"((?:\bFROM|\bJOIN|,)\s*)(\w+)\s*\(", re.I)
        at, n = 0, 0
        while found := pattern.search(sql, at):
            name = found[2].lower()
            at = found.end()
            if name not in self.table_functions or found[1].startswith(",") and name in self.functions:
                continue
            end = balanced(sql, found.end() - 1)
            given = sql[found.end():end - 1].strip()
            args = db.execute(f"SELECT {given}", self._used(given, params)).fetchone() if given else ()
            columns, rows = self._guard(self.table_functions[name])(*args)
            alias = ALIAS.match(sql, end)
            if alias and alias[2]:
                columns = tuple(split_list(alias[2]))
            n += 1
            self._fill(db, f"{name}_{n}", columns, rows)
            sql = f"{sql[:found.start(2)]}{name}_{n} AS {alias[1] if alias else name}{sql[alias.end() if alias else end:]}"
            at = found.start(2)
        return sql

    @staticmethod
    def _used(sql, params):
        count = max((int(n) for n in re.findall(r"\?(\d+)", sql)), default=0)
        if count > len(params):
            raise ServerError(f"there is no parameter ${count}", "42P02")
        return params[:count]

    def run(self, statement, params):
        """(columns with their types, rows) of a SELECT."""
        sql = translate(statement)
        db = sqlite3.connect(":memory:")
        try:
            for name, function in self.functions.items():
                db.create_function(name, -1, self._guard(function))
            for name, view in self.views.items():
                if re.search(rf"\b{name}\b(?!\s*\()", sql):
                    self._fill(db, name, *view())
            sql = self._call_tables(db, sql, params)
            cursor = db.execute(sql, self._used(sql, params))
            rows = cursor.fetchall()
        except sqlite3.Error as e:
            if isinstance(self.raised, Exception):
                raise self.raised from None
            raise ServerError(f"the double does not know how to answer: {e}: {statement}", "42883") from None
        finally:
            db.close()
        return self._present(statement, sql, [column[0] for column in cursor.description], rows)

    @staticmethod
    def _present(statement, sql, names, rows):
        items = select_list(sql)
        # SQLite counts with floating point what the server makes a whole number of.
        rows = [[round(v) if isinstance(v, float) and INTEGER_CAST.search(statement) else v for v in row] for row in rows]
        booleans = [is_boolean(items[i] if len(items) == len(names) else "", name) for i, name in enumerate(names)]
        columns = [(re.sub(r"\(.*", "", name), BOOL if b else TEXT) for name, b in zip(names, booleans)]
        shown = [[{None: None, 0: "f", 1: "t"}.get(v, v) if b else v for v, b in zip(row, booleans)] for row in rows]
        return columns, shown
