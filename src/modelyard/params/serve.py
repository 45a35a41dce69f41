"""The section ``serve``: how versions go out and what callers are told.

It takes effect where models serve, within seconds of being saved, without a run.
"""

from typing import Annotated

from pydantic import Field as Key

from modelyard.params.base import Section

Percent = Annotated[float, Key(gt=0, le=100)]
Minutes = Annotated[float, Key(gt=0, le=7 * 24 * 60)]
Share = Annotated[float, Key(ge=0, le=1)]


class Canary(Section):
    """A new champion answers ``percent`` of the callers for ``minutes`` before it answers all.

    It is taken back at once where its share of failed requests is above the live version's by more
    than ``max_error_rise``, or its median latency by more than ``max_latency_rise`` of it. It is
    not judged on fewer than ``min_requests`` answers; without them it goes on for as long again and
    is then taken back.
    """

    percent: Percent = 10.0
    minutes: Minutes = 10.0
    max_error_rise: Share = 0.01
    max_latency_rise: Annotated[float, Key(ge=0)] = 0.5
    min_requests: Annotated[int, Key(ge=1)] = 100


class Shadow(Section):
    """The challenger answers a copy of ``percent`` of the requests; its answers are only counted.

    Two scores count as equal where they differ by ``atol`` at most.
    """

    percent: Percent = 100.0
    atol: Annotated[float, Key(ge=0)] = 0.01


class Disclose(Section):
    """What callers see of an answer, against copying the model by asking it.

    Scores are rounded to ``decimals``; of the classes only the ``top`` likeliest keep theirs, the
    others are answered as 0. Null gives all.
    """

    decimals: Annotated[int, Key(ge=0, le=9)] | None = 2
    top: Annotated[int, Key(ge=1)] | None = None


class PredictionLog(Section):
    """Which requests are kept, as Parquet: a ``sample`` of them, for ``days``, up to ``max_mb``.

    Fields with ``pii`` are never among the inputs. Pictures, sounds and texts are kept as size and
    mean alone unless ``content`` is true.
    """

    sample: Share = 0.01
    days: Annotated[float, Key(gt=0)] = 30.0
    max_mb: Annotated[float, Key(gt=0)] = 500.0
    content: bool = False


class ServeParams(Section):
    """How versions of this model go out and what callers are told; null switches a part off."""

    canary: Canary | None = None
    shadow: Shadow | None = None
    disclose: Disclose | None = None
    log: PredictionLog | None = None
