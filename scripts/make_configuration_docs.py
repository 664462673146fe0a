"""Write docs/configuration.md from the pydantic models; a test checks that the file is current.

python scripts/make_configuration_docs.py
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from annotated_types import Ge, Gt, Le, Lt
from pydantic import AfterValidator, BaseModel, JsonValue, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from synthio.config import RunConfig
from synthio.registry import Choice

TARGET = Path(__file__).parent.parent / "docs" / "configuration.md"
HEADER = """# Configuration

Made from `synthio.config` by `make docs`; do not edit.

A recipe is a YAML file with the sections below.

* Every key has a default, except `data.path`.
* `include: base.yaml` takes another recipe as the base, and the keys of your recipe win.
* On the command line, `section.key=value` overrides a key of the recipe.
* All problems in a recipe are reported at once. For an unknown key, the nearest known key is named.
* Paths are relative to the folder in which you type the command. There are two exceptions: `include` is relative to its
  recipe, and the paths in a table are relative to the table.

"""
#: Of a recipe's file, which `synthio.recipes` reads; a run has it no more.
INCLUDE = "| `include` | text or `null` | `null` | A base recipe, relative to this file. The keys of this file win. |\n"


def render() -> str:
    """The whole page."""
    header, version, *sections = _table(RunConfig)
    lines = [HEADER, "## Top level\n\n", header, version, INCLUDE, *sections]
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
        rows.append(f"| `{key}` | {_type(field.annotation, field.metadata)} | {_default(field)} | {meaning} |\n")
    return rows


def _nested_meaning(field: FieldInfo) -> str:
    annotation = field.annotation
    is_section = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return "See its section below." if is_section else ""


_WORDS = {str: "text", int: "integer", float: "number", bool: "`true` or `false`", NoneType: "`null`"}
_BOUNDS = {Ge: ">=", Gt: ">", Le: "<=", Lt: "<"}


def _type(annotation: Any, metadata: Sequence[Any]) -> str:
    """In words of YAML: ``list of number, >= 0.0, < 1.0``."""
    kind, parts = get_origin(annotation), get_args(annotation)
    if kind is Annotated:
        fields = [part.metadata if isinstance(part, FieldInfo) else [part] for part in parts[1:]]
        return _type(parts[0], [*metadata, *itertools.chain(*fields)])
    choices = next((m.func for m in metadata if isinstance(m, AfterValidator) and isinstance(m.func, Choice)), None)
    if choices:
        text = f"{' or '.join(f'`{name}`' for name in choices.built_in)}, or the name of a [plug-in](plugins.md)"
    elif annotation is JsonValue:
        text = "anything"
    elif kind is Literal:
        text = " or ".join(f"`{choice}`" for choice in parts)
    elif kind is tuple:
        text = f"list of {_type(parts[0], ())}"
    elif kind is dict:
        text = f"{_type(parts[0], ())} to {_type(parts[1], ())}"
    elif kind in (Union, UnionType):
        text = " or ".join(_type(part, ()) for part in parts)
    elif issubclass(annotation, BaseModel):
        text = "section"
    else:
        text = "path" if issubclass(annotation, Path) else _WORDS[annotation]
    limits = [f"{_BOUNDS[type(m)]} {getattr(m, type(m).__name__.lower())}" for m in metadata if type(m) in _BOUNDS]
    return ", ".join([text, *limits]).replace("|", "\\|")


def _default(field: FieldInfo) -> str:
    """As it would stand in a recipe."""
    if field.default is PydanticUndefined:
        return "required"
    if isinstance(field.default, BaseModel):
        return ""
    plain = TypeAdapter(Any).dump_python(field.default, mode="json")
    # YAML ends a document that is a single word with three dots.
    text = yaml.safe_dump(plain, default_flow_style=True, width=1000).removesuffix("...\n")
    return f"`{text.strip()}`"


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
    print(TARGET)
