"""The reports' templates, and the one function that fills them.

The same look for every report, readable offline.

``base.html.j2`` holds the look and the blocks ``title`` and ``content``; an HTML template extends
it. Values are escaped in HTML, and left as they are in Markdown.
"""

import base64
from typing import Any


def render(name: str, **values: Any) -> str:
    """Fill the template ``name`` of this folder (for instance ``data.html.j2``) with ``values``.

    Beside jinja2's own filters a template has ``data_uri``, which turns the bytes of a PNG into an
    address to embed.

    Raises:
        jinja2.UndefinedError: the template uses a value that was not given.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("modelyard", "templates"),
        autoescape=jinja2.select_autoescape(("html", "html.j2")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["data_uri"] = _data_uri
    return environment.get_template(name).render(**values)


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
