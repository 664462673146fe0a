"""Read a recipe: YAML, ``include`` of a base recipe, ``key=value`` overrides, every problem reported at once."""

from __future__ import annotations

import difflib
import os
import string
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import AfterValidator, BaseModel, ValidationError

from synthio.errors import ConfigError
from synthio.frozen import Frozen


def user_path(path: str | Path) -> Path:
    """A path as a user writes it: ``~`` is the home folder, ``~name`` that of another, and of nobody stays as it is."""
    # `Path.expanduser` raises a RuntimeError for nobody.
    return Path(os.path.expanduser(path))  # noqa: PTH111


UserPath = Annotated[Path, AfterValidator(user_path)]
"""A path of the recipe; ``~`` is the home folder."""


class Section(Frozen):
    """Base of every recipe section: frozen, and unknown keys are errors."""

    foreign_keys: ClassVar[Mapping[str, str]] = {}
    """What to say of keys that belong to another kind of recipe."""


S = TypeVar("S", bound=Section)

_DATA = "if it is your data, name it as data.path in a recipe (`synthio recipe own-data` prints one)"
_INCLUDE = "include"
#: The section whose values are never shown: a key may stand in an address, also in one that is in the wrong place.
_ENDPOINT = "endpoint"
#: What PyYAML raises for what is none: a date that is none is a ValueError, one by its tag an AttributeError, a tagged
#: bool a KeyError.
_NO_YAML = (yaml.YAMLError, ValueError, KeyError, AttributeError)
_TEXT_TAG = "tag:yaml.org,2002:str"
#: Without `~`, which is YAML's null.
_SIGNS = frozenset(string.punctuation) - {"~"}

#: Far above any recipe, and what a moment is enough for.
_MOST_VALUES = 100_000


def load_recipe(path: Path, overrides: Sequence[str], schema: type[S]) -> S:
    """Read ``path``, merge what it includes under it and ``overrides`` (``a.b=value``) over it, and validate.

    Raises: `ConfigError` that lists every problem, with the nearest known key for an unknown one.
    """
    return validate(apply_overrides(read_yaml(path), overrides, schema), schema, str(path))


def read_yaml(path: Path, _seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """One recipe as a plain mapping, its ``include`` (a path beside it) merged underneath."""
    resolved = path.resolve()
    if resolved in _seen:
        raise ConfigError(f"{path}: includes itself through {' -> '.join(p.name for p in (*_seen, resolved))}")
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        if (size := _size(node, {})) > _MOST_VALUES:
            raise ConfigError(
                f"{path}: holds {size} values, with its aliases (*name) written out; expected at most {_MOST_VALUES}; "
                "remove aliases of aliases, which no recipe needs"
            )
        repeated = _repeated_keys(node)
        content = _content(node)
    except FileNotFoundError as error:
        raise ConfigError(_not_there(path, _seen)) from error
    except IsADirectoryError as error:
        raise ConfigError(f"{path}: is a folder; expected a recipe; {_DATA}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text; save the recipe so, or {_DATA}") from error
    except _NO_YAML as error:
        raise ConfigError(
            f"{path}: is not readable YAML: {error}; lines are indented with spaces, text that holds `: ` or ` #` "
            "stands in quotes, and a pattern or a Windows path in single ones"
        ) from error
    except (OSError, RecursionError) as error:
        raise ConfigError(f"{path}: is not readable: {error}") from error
    if repeated:
        raise ConfigError(f"{path}: {', '.join(repeated)}; each key may stand once, the last would silently win")
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: holds no `key: value` lines, as a recipe does; {_DATA}")
    base = content.pop(_INCLUDE, None)
    if base is None:
        return content
    if not isinstance(base, str):
        raise ConfigError(f"{path}: include is {base!r}; expected the path of one recipe")
    return merge(read_yaml(path.parent / base, (*_seen, resolved)), content)


def to_yaml(content: Mapping[str, Any]) -> str:
    """A recipe as text that `read_yaml` reads as the same, whatever stands in it."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """PyYAML writes the line breaks of Unicode as they are, and reads some of them as another one."""


def _text_node(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    breaks = set(text) & set("\x85\u2028\u2029")
    return dumper.represent_scalar(_TEXT_TAG, text, style='"' if breaks else None)


_Dumper.add_representer(str, _text_node)


def _not_there(path: Path, included_by: Sequence[Path]) -> str:
    if included_by:
        return f"{included_by[-1]}: includes {path}, which is not there; an include is relative to the file that has it"
    if "=" in path.name:
        return f"{str(path)!r}: expected the recipe first, and key=value after it"
    return f"{path}: no such recipe below the current folder; `synthio recipe` lists ones to start from"


class _Constructor(yaml.constructor.SafeConstructor):
    """As `yaml.safe_load`, but for keys, which are text as it was written: YAML would take ``001`` and ``1`` for one
    number, and ``yes`` for the same key as these."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        if isinstance(node, yaml.MappingNode):
            # After that no key is YAML's own `<<`.
            self.flatten_mapping(node)
            node.value = [(_as_written(key), child) for key, child in node.value]
        return super().construct_mapping(node, deep=deep)


def _as_written(key: yaml.Node) -> yaml.Node:
    """Another node: as an alias the key may be a value elsewhere."""
    if not isinstance(key, yaml.ScalarNode):
        return key
    return yaml.ScalarNode(_TEXT_TAG, key.value, key.start_mark, key.end_mark)


def _content(node: yaml.Node | None) -> Any:
    return None if node is None else _Constructor().construct_document(node)


def _size(node: yaml.Node | None, known: dict[int, int]) -> int:
    """Values and keys below, where an alias counts as all that it stands for: so it is merged, and shown in errors."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in known:
        # What holds itself is found where it is read.
        known[id(node)] = 0
        below = chain.from_iterable(node.value) if isinstance(node, yaml.MappingNode) else node.value
        known[id(node)] = 1 + sum(_size(child, known) for child in below)
    return known[id(node)]


def _repeated_keys(node: yaml.Node | None) -> list[str]:
    """``train stands twice (line 9)`` for each, at any depth; YAML itself forbids it, PyYAML does not say so."""
    if isinstance(node, yaml.SequenceNode):
        return [found for child in node.value for found in _repeated_keys(child)]
    if not isinstance(node, yaml.MappingNode):
        return []
    keys = [key.value for key, _ in node.value]
    repeated = [
        f"{key.value} stands twice (line {key.start_mark.line + 1})"
        for number, (key, _) in enumerate(node.value)
        if key.value in keys[:number]
    ]
    return repeated + [found for _, child in node.value for found in _repeated_keys(child)]


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Deep merge: mappings merge, anything else in ``over`` replaces. Where ``over`` names another kind or reader, the
    ``options`` of ``base``, which are of the one before, go."""
    others = any(key in base and over.get(key, base[key]) != base[key] for key in ("kind", "reader"))
    # A label that is called so stands for text.
    gone = others and isinstance(base.get("options"), Mapping)
    merged = {key: value for key, value in base.items() if not (gone and key == "options")}
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def apply_overrides(content: dict[str, Any], overrides: Sequence[str], schema: type[BaseModel]) -> dict[str, Any]:
    """Apply ``a.b=value`` strings: text and paths as they are typed, other values read as YAML (``3``, ``[1, 2]``)."""
    problems = [f"override {o!r}: expected key=value, with a key of the recipe" for o in overrides if "=" not in o]
    problems += [
        f"override {o!r}: include belongs in the recipe file"
        for o in overrides
        if o.partition("=")[0].strip() == _INCLUDE
    ]
    if problems:
        raise ConfigError("\n".join(problems))
    # One layer: of a kind and its options neither comes first.
    layer: dict[str, Any] = {}
    for override in overrides:
        key, _, text = override.partition("=")
        path = key.strip().split(".")
        value: Any = _as_typed(text) if _holds_text(_annotation(schema, path)) else _as_yaml(text, override)
        for part in reversed(path):
            value = {part: value}
        layer = merge(layer, value)
    return merge(content, layer)


def _as_typed(text: str) -> str | None:
    """YAML would end ``site #3`` at the space, and take ``2023-05-01`` for a date; quotes and null it may have."""
    quoted = text[:1] in ("'", '"') and len(text) > 1 and text[-1:] == text[:1]
    if quoted or text in ("", "~", "null"):
        # What only looks quoted, as 'a' and 'b', is no YAML.
        with suppress(yaml.YAMLError):
            value = yaml.safe_load(text)
            return None if value is None else str(value)
    return text


def _as_yaml(text: str, override: str) -> Any:
    try:
        # A sign alone is a separator, not YAML's syntax.
        return text if text in _SIGNS else _content(yaml.compose(text, Loader=yaml.SafeLoader))
    except (*_NO_YAML, RecursionError) as error:
        raise ConfigError(f"override {override!r}: the value is not readable YAML: {error}") from error


def _annotation(schema: type[BaseModel], path: Sequence[str]) -> Any:
    """The type of a key, also of one of a mapping; None for one that is not known."""
    section = _section_at(schema, path[:-1])
    if section and path[-1] in section.model_fields:
        return section.model_fields[path[-1]].annotation
    mapping = _annotation(schema, path[:-1]) if len(path) > 1 else None
    return get_args(mapping)[1] if get_origin(mapping) is dict else None


def _holds_text(annotation: Any) -> bool:
    """Whether a key takes nothing but text, a path or null."""
    if isinstance(annotation, type):
        return issubclass(annotation, str | Path)
    if isinstance(annotation, UnionType) or get_origin(annotation) is Union:
        return all(kind is NoneType or _holds_text(kind) for kind in get_args(annotation))
    return get_origin(annotation) is Annotated and _holds_text(get_args(annotation)[0])


def validate(content: Mapping[str, Any], schema: type[S], source: str) -> S:
    """Validate a mapping against a section. Raises `ConfigError` listing every problem."""
    try:
        return schema.model_validate(content)
    except ValidationError as error:
        lines = [f"{source}: {error.error_count()} problem(s) in the configuration"]
        lines += [_describe(dict(problem), schema) for problem in error.errors(include_url=False)]
        # Its own words would show what is secret.
        raise ConfigError("\n".join(lines)) from None


def _describe(problem: dict[str, Any], schema: type[Section]) -> str:
    location = [str(part) for part in problem["loc"]]
    where = ".".join(location) or "(top level)"
    if problem["type"] != "extra_forbidden":
        hidden = problem["type"] == "missing" or isinstance(problem["input"], Mapping) or _ENDPOINT in location
        found = "" if hidden else f" (found {problem['input']!r})"
        return f"  {where}: {_said(problem, location, schema)}{found}"
    known = _known_keys(schema, location[:-1])
    if len(location) == 1 and location[0] in schema.foreign_keys:
        return f"  {where}: {schema.foreign_keys[location[0]]}"
    homes = [f"{section}.{location[-1]}" for section in known if location[-1] in _known_keys(schema, [section])]
    if len(location) == 1 and homes:
        return f"  {where}: unknown key; did you mean {' or '.join(map(repr, homes))}? (indent it under the section)"
    if len(location) == 1:
        known = [*known, _INCLUDE]
    nearest = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"known here: {', '.join(sorted(known))}"
    return f"  {where}: unknown key; {hint}"


def _said(problem: Mapping[str, Any], location: Sequence[str], schema: type[BaseModel]) -> str:
    """pydantic's message, or ours where it speaks of Python's types."""
    where = ".".join(location)
    if problem["type"] == "tuple_type":
        return f"expected a list; on the command line '{where}=[a,b]'"
    if problem["type"] in ("model_type", "model_attributes_type"):
        return f"is a section; expected one of its keys, such as {where}.{_known_keys(schema, location)[0]}"
    if problem["type"] == "path_type":
        return "expected a path"
    # An option of a plug-in may be anything but what YAML takes for a date.
    if problem["type"] in ("string_type", "invalid-json-value"):
        return "expected text: put it in quotes"
    # What our own validators say comes with a word of pydantic's before it.
    return str(problem["msg"]).removeprefix("Value error, ")


def _known_keys(schema: type[BaseModel], path: Sequence[str]) -> list[str]:
    section = _section_at(schema, path)
    return list(section.model_fields) if section is not None else []


def _section_at(schema: type[BaseModel], path: Sequence[str]) -> type[BaseModel] | None:
    """The section at the end of ``path``; what names no section is passed over, as the keys of a mapping."""
    current: type[BaseModel] | None = schema
    for part in path:
        if current is not None and part in current.model_fields:
            current = _section_of(current.model_fields[part].annotation)
    return current


def _section_of(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _section_of(arg)) is not None), None)
