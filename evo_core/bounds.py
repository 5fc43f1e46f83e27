"""The largest numbers, texts and lists that configurations, forms and commands take."""

SAFE_INTEGER = 2**53 - 1
"""The largest whole number that JSON carries to a browser, or through a float, without rounding it."""
