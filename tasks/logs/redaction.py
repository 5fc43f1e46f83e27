"""Redaction of credentials in pages, error messages and logs."""

import os
import re

from evo_core.records.chain import FailureDetail
from evo_core.records.failures import shortened

HIDDEN = "***"

_PASSWORD = re.compile(r"(\w://[^\s/:@]*):\S*@")
_QUERY = re.compile(r"([?&][\w.-]+)=[^\s&#'\"`)]+")
_PASSWORD_OPTION = re.compile(r"([?&][\w.-]*password[\w.-]*)=[^&#]*", re.IGNORECASE)
_SECRET_VARIABLES = re.compile(r"PASSWORD|SECRET|TOKEN|API_KEY|AUTH_STRING|CREDENTIAL", re.IGNORECASE)
_ASSIGNED = re.compile(
    r"(?P<name>[\w-]*(?:password|passwd|secret|token|api[_-]?key|credential|auth_string)[\w-]*[\"']?\s*[=:]\s*"
    r"|\b(?:bearer|basic)\s+)[\"']?[^\s\"',;)}]{4,}",
    re.IGNORECASE,
)
"""Credentials in text from other programs: password=…, 'api_key': '…', Bearer …"""

_SHORTEST = 6
"""Values shorter than this are treated as ordinary words and numbers, not credentials."""


def concealed_detail(detail: FailureDetail) -> FailureDetail:
    """Make an environment's failure detail safe to store and show: short, on one line, without credentials."""
    return shortened(detail, lambda text: _ASSIGNED.sub(rf"\g<name>{HIDDEN}", concealed(text)))


def concealed(text: str) -> str:
    """Hide passwords and query values of URLs, and the values of environment variables that hold credentials."""
    text = _QUERY.sub(rf"\1={HIDDEN}", _PASSWORD.sub(rf"\1:{HIDDEN}@", text))
    secrets = {value for name, value in os.environ.items() if _SECRET_VARIABLES.search(name)}
    for value in sorted((value for value in secrets if len(value) >= _SHORTEST), key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    return text


def without_password(url: str) -> str:
    """Hide the passwords of a database URL, before the host and among its options; the rest can be used as it is."""
    return _PASSWORD_OPTION.sub(rf"\1={HIDDEN}", _PASSWORD.sub(rf"\1:{HIDDEN}@", url))
