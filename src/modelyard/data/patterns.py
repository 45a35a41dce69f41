"""Regular expressions that mean the same to Python, and to RE2 in DuckDB, Arrow and pandas."""

import re

_OWN = re.compile(r"\\[a-zA-Z0-9]|\(\?|[^\x00-\x7f]|[*+?}]\+")


def is_plain(pattern: str) -> bool:
    r"""Whether both read a pattern alike.

    To RE2 ``\w``, ``\d`` and ``\b`` are of ASCII alone, and it has no look-around.
    """
    return _OWN.search(pattern) is None
