"""Fields of the configuration that take the name of something built in, or of a plugin."""

import difflib
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from evo_core.plugins.installed import OF_MODULE, PLAIN, describe_offers, doubtful, offers
from evo_core.plugins.kinds import PluginKind

LONGEST = 255
"""Characters of a name."""

INSTALLED = {"plugins": "installed"}
"""Context of validation under which plugins must be installed: of new configurations, not of stored ones, which are
read on machines without their plugins too."""


@dataclass(frozen=True, slots=True)
class PluginName:
    """Annotation of a field that takes a name of a kind. `only` leaves out what is built in."""

    kind: PluginKind
    only: bool = False

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validate a text as a name."""
        return core_schema.with_info_after_validator_function(self._check, core_schema.str_schema(max_length=LONGEST))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Offer what is built in and what is installed as a list; other modules are typed."""
        if self.only:
            return {"type": "string", "maxLength": LONGEST}
        known = {"title": "from the list", "type": "string", "enum": [*self.kind.own, *offers(self.kind)]}
        return {"anyOf": [known, {"title": "of a module", "type": "string", "pattern": ".:.", "maxLength": LONGEST}]}

    @property
    def _own(self) -> tuple[str, ...]:
        return () if self.only else self.kind.own

    def list_installed(self, schema: dict[str, Any]) -> None:
        """Append the installed plugins to a field's description in forms, where names are keys and not a list."""
        if found := describe_offers(self.kind):
            schema["description"] = f"{schema.get('description', '')} Installed: {found}.".strip()

    def is_known(self, name: str, info: ValidationInfo) -> bool:
        """Return True for the name of a plugin that is installed; where a stored record is read, of any."""
        context = info.context if isinstance(info.context, dict) else {}
        here = context.get("plugins") != "installed" or name in offers(self.kind)
        return here and PLAIN.fullmatch(name) is not None and name not in self.kind.own

    def _check(self, name: str, info: ValidationInfo) -> str:
        if name in self._own or OF_MODULE.fullmatch(name) or self.is_known(name, info):
            return name
        if reason := doubtful(self.kind).get(name):
            raise ValueError(f"{self.kind.noun} {name}: {reason}")
        known = [*self._own, *offers(self.kind)]
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        words = ", ".join(f"'{word}'" for word in known)
        wanted = f"{words} or package.module:Name" if known else f"{self.kind.noun} package.module:Name"
        hint = f"; did you mean {near[0]}?" if near else f"; install the package that offers the {self.kind.noun}"
        raise ValueError(f"expected {wanted}, got {name!r}{hint}")
