"""Loads what a pointer names, beside the event loop."""

import asyncio
import logging
from concurrent.futures import Executor
from pathlib import Path

from modelyard.errors import PackageError
from modelyard.serving.folder import Pointer
from modelyard.serving.model import Model, load

_logger = logging.getLogger(__name__)


async def load_pointed(pool: Executor, folder: Path, pointer: Pointer) -> Model:
    """Load the version that a pointer in a model's ``folder`` names.

    Raises:
        PackageError: it cannot serve, for whatever reason; the log has it, too.
    """
    package = folder / pointer.path
    loop = asyncio.get_running_loop()
    try:
        return await loop.run_in_executor(
            pool, load, package, pointer.name, pointer.version, pointer.digest
        )
    except Exception as error:  # a version that cannot be loaded must not stop the server
        reason = error.message if isinstance(error, PackageError) else repr(error)
        # The reason travels to the registry, where this machine's paths mean nothing.
        reason = reason.replace(str(package), "the package")
        _logger.error("refused version %d of %s: %s", pointer.version, pointer.name, reason)
        raise PackageError(reason) from error
