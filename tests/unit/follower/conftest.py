"""Fixtures of the follower's tests."""

from tests.unit.follower.yard import yard

__all__ = ["yard"]
