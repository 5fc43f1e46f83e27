"""Timeouts for calls of foreign code that may hang, such as an environment's methods."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

ResultT = TypeVar("ResultT")


def run_with_timeout(seconds: float, call: Callable[[], ResultT]) -> ResultT:
    """Return what a call returns or raise what it raises; TimeoutError when it takes longer than `seconds`.

    It runs in a thread of its own, which is left behind when it hangs and ends with the process. A call that fails
    there is repeated in the main thread, if that is the caller: it may need what only a main thread has (signal
    handlers, an event loop), and then nothing bounds its time.
    """
    future: Future[ResultT] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # raised again by `future.result`
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        return future.result(timeout=seconds)
    except TimeoutError:
        raise
    except Exception:
        if threading.current_thread() is not threading.main_thread():
            raise
        return call()
