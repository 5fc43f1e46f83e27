"""Bypass HTTP_PROXY and similar variables for servers on this machine."""

import os
from urllib.request import getproxies_environment

LOOPBACK = ("localhost", "127.0.0.1", "::1")


def bypass_proxies(*hosts: str) -> None:
    """Add loopback and these hosts to NO_PROXY, for this process and those that it starts.

    Nothing changes without a proxy in the environment: a NO_PROXY alone would hide the proxies of macOS's settings.
    """
    proxies = getproxies_environment()
    exempt = [host for host in proxies.pop("no", "").split(",") if host.strip()]
    if not proxies or "*" in (host.strip() for host in exempt):
        return
    known = {host.strip() for host in exempt}
    exempt += [host for host in (*LOOPBACK, *hosts) if host not in known]
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = ",".join(exempt)  # programs read either variable
