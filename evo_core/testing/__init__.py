"""Contracts of plugins as tests: subclass the one of a kind in a file of your tests, and pytest runs it.

```python
class TestFourier(EncoderContract):
    plugin = Fourier
    shapes = ((4,), (17,))
```
"""

from evo_core.testing.encoder_contract import EncoderContract
from evo_core.testing.evolution_contracts import MutationContract, SelectorContract
from evo_core.testing.fitness_contract import FitnessContract
from evo_core.testing.vector_contract import VectorBackendContract

__all__ = ["EncoderContract", "FitnessContract", "MutationContract", "SelectorContract", "VectorBackendContract"]
