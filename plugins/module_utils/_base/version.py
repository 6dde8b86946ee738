# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""The version of the engine, the same as galaxy.yml's."""

VERSION = "0.1.0"
