"""Fields of nested configuration sections, by their dotted names such as network.encoder.activation."""

from collections.abc import Iterator

from pydantic import BaseModel
from pydantic.fields import FieldInfo


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """Return the section that a field holds; None for a field with a value of its own."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def leaf_fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield every field of a model and of its sections that holds a value, with its dotted name."""
    for name, field in model.model_fields.items():
        section = section_of(field)
        if section is None:
            yield f"{prefix}{name}", field
        else:
            yield from leaf_fields(section, f"{prefix}{name}.")


def find_section(model: type[BaseModel], *names: str) -> type[BaseModel] | None:
    """Return the section inside of sections that these names lead to; None where there is none."""
    found: type[BaseModel] | None = model
    for name in names:
        field = found.model_fields.get(name) if found else None
        found = section_of(field) if field else None
    return found
