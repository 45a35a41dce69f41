"""What a request can be refused with: a status and one message that holds the remedy."""


class RequestError(Exception):
    """A request that gets no prediction.

    Args:
        status: HTTP status, 4xx for the caller's part, 503 for ours.
        message: What is wrong and where, with the remedy; it goes to the caller as it is.
        headers: Further response headers, for instance ``Retry-After``.
    """

    def __init__(
        self, status: int, message: str, headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers


def unavailable(message: str, seconds: int = 1) -> RequestError:
    """A 503 that says when to come back."""
    return RequestError(503, message, ((b"retry-after", b"%d" % seconds),))


def busy() -> RequestError:
    """A 429: more is waiting than can be answered soon."""
    return RequestError(
        429, "too many requests are waiting; try again later", ((b"retry-after", b"1"),)
    )
