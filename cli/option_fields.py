"""Command-line options declared as dataclass fields; parsers and records are built from them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any

_OPTION = "option"  # key in a field's metadata


@dataclass(frozen=True, slots=True)
class Group:
    """A section of `--help`."""

    title: str


@dataclass(frozen=True, slots=True)
class Option:
    """How a field is given on the command line."""

    flag: str
    group: Group
    exclusive: str | None  # options of a group with the same word exclude each other
    parameters: tuple[str, ...]  # further names of the option in Python functions
    arguments: Mapping[str, Any]  # keywords of `add_argument`

    @property
    def dest(self) -> str:
        """The option's attribute of the parsed namespace."""
        return self.flag.removeprefix("--").replace("-", "_")

    @property
    def is_negatable(self) -> bool:
        """Whether the option has a `--no-` form."""
        return self.arguments.get("action") is argparse.BooleanOptionalAction

    def add_to(self, container: argparse._ActionsContainer, **changes: Any) -> None:
        """Add the option to a parser or group, with other keywords of `add_argument`."""
        container.add_argument(self.flag, **{**self.arguments, **changes})


def option(
    flag: str,
    *,
    group: Group,
    default: Any = None,
    parse: Callable[[str], Any] | None = None,
    multiple: bool = False,
    exclusive: str | None = None,
    parameters: tuple[str, ...] = (),
    **arguments: Any,
) -> Any:
    """Declare a field that an option with a value sets.

    Args:
        flag: the option, such as `--crf`.
        group: its section of `--help`.
        default: the value without the option; `()` with `multiple`.
        parse: makes the value from the argument; text stays as it is without one.
        multiple: the option may be repeated, and the field is a tuple.
        exclusive: a word; options of `group` with the same word exclude each other.
        parameters: names of the option in Python functions, besides the name of the field.
        arguments: further keywords of `add_argument`, such as `metavar` and `help`.
    """
    if multiple:
        default, arguments["action"] = (), "append"
    else:
        arguments["default"] = default
    if parse is not None:
        arguments["type"] = parse
    return _field(default, Option(flag, group, exclusive, parameters, arguments))


def switch(flag: str, *, group: Group, exclusive: str | None = None, **arguments: Any) -> Any:
    """Declare a field that is True with the option and False without it."""
    arguments["action"] = "store_true"
    return _field(False, Option(flag, group, exclusive, (), arguments))


def _field(default: Any, declared: Option) -> Any:
    return field(default=default, metadata={_OPTION: declared})


def declared_options(record: type) -> Iterator[tuple[str, Option]]:
    """The names and options of a dataclass's fields, in their order."""
    for entry in fields(record):
        if _OPTION in entry.metadata:
            yield entry.name, entry.metadata[_OPTION]


def read_options(record: type, args: argparse.Namespace) -> dict[str, Any]:
    """The values of a dataclass's option fields in a parsed namespace."""
    return {
        entry.name: _value(getattr(args, entry.metadata[_OPTION].dest), entry)
        for entry in fields(record)
        if _OPTION in entry.metadata
    }


def _value(value: Any, entry: Field[Any]) -> Any:
    return tuple(value or ()) if entry.default == () else value


def add_group(
    parser: argparse.ArgumentParser,
    group: Group,
    options: Mapping[str, Option],
    leave_out: tuple[str, ...] = (),
) -> argparse._ArgumentGroup:
    """Add a section of `--help` with those of `options` that belong to it."""
    section = parser.add_argument_group(group.title)
    exclusive: dict[str, argparse._ActionsContainer] = {}
    for name, declared in options.items():
        if declared.group is not group or name in leave_out:
            continue
        place: argparse._ActionsContainer = section
        if (word := declared.exclusive) is not None:
            if word not in exclusive:
                exclusive[word] = section.add_mutually_exclusive_group()
            place = exclusive[word]
        declared.add_to(place)
    return section
