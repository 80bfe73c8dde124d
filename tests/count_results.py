#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Print "passed failed skipped" of a JUnit file, as tests/run adds them up."""
import sys
import xml.etree.ElementTree as ET

counts = {"passed": 0, "failed": 0, "skipped": 0}
for case in ET.parse(sys.argv[1]).getroot().iter("testcase"):
    tags = {child.tag for child in case}
    if tags & {"failure", "error"}:
        counts["failed"] += 1
    elif "skipped" in tags:
        counts["skipped"] += 1
    else:
        counts["passed"] += 1
print(*counts.values())
