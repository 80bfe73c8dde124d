# SPDX-License-Identifier: Apache-2.0
"""A double of an openGauss server, for tests of backup tools."""
from . import example
from .recorded import read_cbm_rows
from .server import ACTIONS, Double, come_up
from .wire import Closed, ServerError

__all__ = ["ACTIONS", "Closed", "Double", "ServerError", "come_up", "example", "read_cbm_rows"]
