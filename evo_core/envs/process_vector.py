"""Gymnasium's AsyncVectorEnv, without processes left over when not all of them can be started."""

from contextlib import suppress
from typing import Any

from gymnasium.vector import AsyncVectorEnv

EXIT_TIMEOUT_S = 5.0
"""Time limit for processes to stop in an orderly way before they are killed."""


class Processes(AsyncVectorEnv[Any, Any]):
    """An AsyncVectorEnv whose constructor ends the processes it has started when it raises."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        try:
            super().__init__(*arguments, **options)
        except BaseException:
            self.closed = True
            pipes = [pipe for pipe in getattr(self, "parent_pipes", ()) if pipe is not None]
            for pipe in pipes:
                with suppress(OSError):  # its process has ended
                    pipe.send(("close", None))
            for process in getattr(self, "processes", ()):
                process.join(EXIT_TIMEOUT_S)
                process.kill()
                process.join(EXIT_TIMEOUT_S)
            for pipe in pipes:
                pipe.close()
            raise
