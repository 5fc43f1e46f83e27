"""Subscribe to the topics on which workers report while a flow run is in progress."""

from collections.abc import Callable
from typing import Any

from prefect.context import FlowRunContext
from prefect_dask import DaskTaskRunner


def subscribe(topic: str, callback: Callable[[dict[str, Any]], None]) -> None:
    """Call `callback`, in another thread, with every event of a topic.

    In a flow run whose tasks run on the engine.
    """
    context = FlowRunContext.get()
    assert context is not None and isinstance(context.task_runner, DaskTaskRunner)
    client: Any = context.task_runner.client
    client.subscribe_topic(topic, lambda event: callback(event[1]))
