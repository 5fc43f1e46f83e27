"""Plugins that installed packages offer as entry points. Nothing of them is imported."""

import re
from functools import cache
from importlib import metadata
from types import MappingProxyType
from typing import NamedTuple

from evo_core.plugins.kinds import PLUGIN_KINDS, PluginKind

PLAIN = re.compile(r"[a-z][a-z0-9_-]*")
"""Name of an installed plugin."""

OF_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
"""Name of a plugin that no package offers: package.module:Name."""


class Offer(NamedTuple):
    """A plugin that an installed package offers: its entry point, and the package with its version."""

    entry: metadata.EntryPoint
    package: str


@cache
def offers(kind: PluginKind) -> "MappingProxyType[str, Offer]":
    """Return the installed plugins of a kind by name, in alphabetical order.

    Names that are ours, and names that two packages give to different things, are left out (see `doubtful`).
    """
    found: dict[str, Offer] = {}
    doubts = doubtful(kind)
    for offer in _all_offers():
        if offer.entry.group == kind.group and offer.entry.name not in doubts:
            found[offer.entry.name] = offer
    return MappingProxyType(dict(sorted(found.items())))


@cache
def doubtful(kind: PluginKind) -> "MappingProxyType[str, str]":
    """Return why names of a kind that packages offer cannot be used, by name."""
    by_name: dict[str, list[Offer]] = {}
    for offer in _all_offers():
        if offer.entry.group == kind.group:
            by_name.setdefault(offer.entry.name, []).append(offer)
    reasons = {}
    for name, those in by_name.items():
        packages = " and ".join(sorted({offer.package for offer in those}))
        if name in kind.own:
            reasons[name] = f"{packages} offers it, but {name} is built in"
        elif not PLAIN.fullmatch(name):
            reasons[name] = f"{packages} offers it, but expected a lower-case letter, then letters, digits, - and _"
        elif len({offer.entry.value for offer in those}) > 1:
            reasons[name] = f"{packages} offer different ones; uninstall all but one"
    return MappingProxyType(reasons)


def describe_offers(kind: PluginKind) -> str:
    """List the installed plugins of a kind with their packages; empty if there are none."""
    return ", ".join(f"{name} ({offer.package})" for name, offer in offers(kind).items())


def package_of(kind: PluginKind, name: str) -> str | None:
    """Return the installed package that a plugin comes from, with its version; None if it is unknown."""
    if ":" in name:
        return distribution(name.partition(":")[0].partition(".")[0])
    offer = offers(kind).get(name)
    return offer.package if offer else None


@cache
def distribution(module: str) -> str | None:
    """Return the installed distribution that provides a top-level module, with its version."""
    try:
        return f"{module.lower()} {metadata.version(module)}"  # most are named as their module is
    except metadata.PackageNotFoundError:
        names = metadata.packages_distributions().get(module, [])
        return ", ".join(sorted(f"{name} {metadata.version(name)}" for name in set(names))) or None


@cache
def _all_offers() -> tuple[Offer, ...]:
    """Read the entry points of all kinds once: every installed package has a file of them."""
    found = metadata.entry_points()
    return tuple(
        Offer(entry, f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else "an unnamed package")
        for kind in PLUGIN_KINDS
        for entry in found.select(group=kind.group)
    )


def forget_offers() -> None:
    """Clear the cache, after packages were installed into this process's environment."""
    for cached in (offers, doubtful, distribution, _all_offers):
        cached.cache_clear()
