"""The command line ``modelyard``."""

from modelyard.cli.app import app, main

__all__ = ["app", "main"]
