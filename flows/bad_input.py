"""Errors that commands show as advice (BadInput, Failed), and the certificate files that tls:// needs."""

from pathlib import Path


class BadInput(ValueError):
    """Raised for invalid input; the message says what to change."""


class Failed(RuntimeError):
    """Raised when an operation failed; the message says why."""


def require_certificates(engine: str) -> None:
    """Reject tls:// without the certificate files in Dask's configuration."""
    from dask import config

    for key in ("ca-file", "client.cert", "client.key"):
        value = config.get(f"distributed.comm.tls.{key}", None)
        if value is None or ("\n" not in value and not Path(value).is_file()):
            variable = f"DASK_DISTRIBUTED__COMM__TLS__{key.upper().replace('-', '_').replace('.', '__')}"
            state = "is not set" if value is None else f"names {value}, which is no file"
            raise BadInput(
                f"--engine {engine}: Dask's setting distributed.comm.tls.{key} {state}; set {variable}, or name the "
                "certificates in Dask's configuration file"
            )
