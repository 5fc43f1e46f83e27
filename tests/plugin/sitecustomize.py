"""On PYTHONPATH, this registers the probe environments in every process of a run, as an installed package would."""

from tests import probes

probes.register()
