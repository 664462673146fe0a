"""Write docs/configuration.md from the pydantic models; a test checks that the file is current.

python scripts/make_configuration_docs.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from synthio.config import RunConfig

TARGET = Path(__file__).parent.parent / "docs" / "configuration.md"
HEADER = """# Configuration

Made from `synthio.config` by `make docs`; do not edit. A recipe is YAML with these sections; every key has a default
but `data.path`. `include: base.yaml` merges another recipe underneath. On the command line `section.key=value`
overrides. All problems are reported at once, unknown keys with the nearest known one. Paths are relative to where you
type the command, but for `include` (to its recipe) and the cells of a table (to the table).

"""


def render() -> str:
    """The whole page."""
    lines = [HEADER, "## Top level\n\n", *_table(RunConfig)]
    seen: set[type[BaseModel]] = set()
    for name, field in RunConfig.model_fields.items():
        lines += _section(name, field.annotation, seen)
    return "".join(lines).rstrip() + "\n"


def _section(name: str, annotation: Any, seen: set[type[BaseModel]]) -> list[str]:
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return []
    if annotation in seen:
        return []
    seen.add(annotation)
    lines = [f"\n## {name}\n\n{(annotation.__doc__ or '').strip()}\n\n", *_table(annotation)]
    for key, field in annotation.model_fields.items():
        lines += _section(f"{name}.{key}", field.annotation, seen)
    return lines


def _table(model: type[BaseModel]) -> list[str]:
    rows = ["| key | type | default | meaning |\n|---|---|---|---|\n"]
    for key, field in model.model_fields.items():
        meaning = (field.description or _nested_meaning(field)).replace("|", "\\|")
        rows.append(f"| `{key}` | {_type(field)} | {_default(field)} | {meaning} |\n")
    return rows


def _nested_meaning(field: FieldInfo) -> str:
    annotation = field.annotation
    is_section = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return "See its section below." if is_section else ""


def _type(field: FieldInfo) -> str:
    annotation = field.annotation
    if isinstance(annotation, type):
        text = "section" if issubclass(annotation, BaseModel) else annotation.__name__.lower().replace("path", "path")
    else:
        choices = [str(arg) for arg in get_args(annotation) if isinstance(arg, str | int)]
        text = " or ".join(f"`{choice}`" for choice in choices) or str(annotation).replace("typing.", "")
    bounds = {"Ge": ">=", "Gt": ">", "Le": "<=", "Lt": "<"}
    limits = [
        f"{bounds[type(m).__name__]} {getattr(m, type(m).__name__.lower())}"
        for m in field.metadata
        if type(m).__name__ in bounds
    ]
    return (text + (f", {', '.join(limits)}" if limits else "")).replace("|", "\\|")


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    if isinstance(field.default, BaseModel):
        return ""
    return f"`{field.default}`"


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
    print(TARGET)
