#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The lints find what they are for."""
import tempfile
import unittest
from pathlib import Path

import header_lint
import include_lint
import text_lint

SPDX = "/* SPDX-License-Identifier: Apache-2.0 */\n"


class Tree(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = Path(folder.name).resolve()
        self.write("core/base/good.c", '#include "core/base/good.h"\n#include <stdio.h>\n')

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SPDX + text)

    def includes(self):
        return include_lint.check_tree(self.root)

    def text(self):
        return text_lint.check_tree(self.root)[0]

    def test_clean_tree(self):
        self.assertEqual(self.includes(), [])
        self.assertEqual(self.text(), [])

    def test_upward_include(self):
        self.write("core/base/bad.c", '#include "core/catalog/backup.h"\n')
        self.assertEqual(self.includes(), ["core/base/bad.c:2: core/base must not include core/catalog"])

    def test_plugin_into_core(self):
        self.write("plugins/mode-full/full.c", '#include "core/base/good.h"\n')
        self.assertIn("not \"core/base/good.h\"", self.includes()[0])

    def test_plugin_own_file(self):
        self.write("plugins/mode-full/own.h", "")
        self.write("plugins/mode-full/full.c", '#include "own.h"\n#include <zlib.h>\n#include "gsp/mode.h"\n')
        self.assertEqual(self.includes(), [])

    def test_library_in_the_wrong_place(self):
        self.write("core/engine/bad.c", "#include <ltdl.h>\n")
        self.assertIn("must not know <ltdl.h>", self.includes()[0])

    def test_exit_below_cli(self):
        self.write("core/cli/main.c", "void f(void) { exit(1); printf(x); }\n")
        self.assertEqual(self.includes(), [])
        self.write("core/engine/bad.c", 'void f(void) { g("exit(1)"); /* exit(1) */ log_exit(1); exit(1); }\n')
        self.assertEqual(len(self.includes()), 1)

    def test_forbidden_function(self):
        self.write("core/base/bad.c", "int f(char *s) { return atoi(s); }\n")
        self.assertEqual(self.text(), ["core/base/bad.c:2: atoi is not used here"])
        self.write("core/base/bad.c", "")
        self.write("tests/unit/bad.c", "int f(char *s) { return atoi(s); }\n")
        self.assertEqual(self.text(), [])

    def test_leftover(self):
        self.write("core/base/bad.c", "/* TO" "DO later */\n")
        self.assertEqual(len(self.text()), 1)

    def test_machine_path(self):
        self.write("docs/bad.md", "see /wo" "rk/main\n")
        self.assertEqual(len(self.text()), 1)

    def test_no_licence(self):
        (self.root / "core/base/bad.h").write_text("int x;\n")
        self.assertEqual(self.text(), ["core/base/bad.h:1: no SPDX line"])

    def test_long_file_and_function(self):
        self.write("core/base/bad.c", "int\nf(void)\n{\n" + "    x();\n" * 900 + "}\n")
        self.assertEqual(len(self.text()), 2)

    def test_header_that_needs_another(self):
        self.write("plugin-api/include/gsp/bad.h", "extern uint32_t x;\n")
        problem = header_lint.compile_alone(self.root, "gsp/bad.h", ["gcc", "-x", "c", "-fsyntax-only"])
        self.assertIn("uint32_t", problem)


if __name__ == "__main__":
    unittest.main()
