"""Contracts of plugins as tests: subclass the one of a kind in a file of your tests, and pytest runs it.

```python
class TestFourier(EncoderContract):
    plugin = Fourier
    shapes = ((4,), (17,))
```
"""

from evo_core.testing.encoder_contract import EncoderContract

__all__ = ["EncoderContract"]
