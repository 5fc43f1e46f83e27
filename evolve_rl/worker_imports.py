"""What local workers need, imported once by the process from which they are forked (flows/engine/forkserver.py)."""

import gc
from importlib import import_module

from evo_core.installation import prefer_own_packages

NEEDED = ("flows.engine.nanny", "tasks.generation_tasks", "prefect.task_engine", "prefect_dask.task_runners")

prefer_own_packages()
for _name in NEEDED:
    import_module(_name)
gc.freeze()  # workers need not search these objects for garbage, which would also copy the memory that they share
