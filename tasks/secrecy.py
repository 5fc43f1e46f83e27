"""Keeping credentials out of what people are shown: pages of a run, messages of failures, logs."""

import os
import re

HIDDEN = "***"

_PASSWORD = re.compile(r"(\w://[^\s/:@]*):\S*@")
_QUERY = re.compile(r"([?&][\w.-]+)=[^\s&#'\"`)]+")
_SECRET_VARIABLES = re.compile(r"PASSWORD|SECRET|TOKEN|API_KEY|AUTH_STRING|CREDENTIAL", re.IGNORECASE)
_SHORTEST = 6
"""Values shorter than this are words and numbers of every text, and no credentials."""


def concealed(text: str) -> str:
    """Hide passwords and query values of URLs, and the values of environment variables that hold credentials."""
    text = _QUERY.sub(rf"\1={HIDDEN}", _PASSWORD.sub(rf"\1:{HIDDEN}@", text))
    secrets = {value for name, value in os.environ.items() if _SECRET_VARIABLES.search(name)}
    for value in sorted((value for value in secrets if len(value) >= _SHORTEST), key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    return text
