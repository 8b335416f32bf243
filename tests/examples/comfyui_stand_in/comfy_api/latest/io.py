"""Types of sockets, schemas and nodes, as far as they are needed to execute a graph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class FolderType(StrEnum):
    output = "output"


class Socket:
    """An input or output; keywords of an input are its attributes in the graph's description."""

    def __init__(
        self,
        id: str | None = None,  # noqa: A002
        *,
        display_name: str | None = None,
        optional: bool = False,
        **attributes: Any,
    ) -> None:
        unknown = set(attributes) - self.attributes
        assert not unknown, f"{type(self).__qualname__} has no {unknown}"
        self.id, self.display_name, self.optional = id, display_name, optional
        self.values = attributes

    io_type = ""
    attributes: frozenset[str] = frozenset()


def _type(name: str, *attributes: str) -> Any:
    common = {"tooltip"} | ({"default", "force_input"} if attributes else set())
    inputs = {"io_type": name, "attributes": frozenset(common | set(attributes))}
    outputs = {"io_type": name, "attributes": frozenset({"tooltip"})}
    made = {
        "Input": type("Input", (Socket,), inputs),
        "Output": type("Output", (Socket,), outputs),
    }
    return type(name, (), made)


def Custom(io_type: str) -> Any:  # noqa: N802
    return _type(io_type)


class Combo:
    class Input(Socket):
        io_type = "COMBO"
        attributes = frozenset({"options", "default", "tooltip", "control_after_generate"})


Image: Any = _type("IMAGE")
Video: Any = _type("VIDEO")
String: Any = _type("STRING", "multiline", "placeholder")
Int: Any = _type("INT", "min", "max", "step", "control_after_generate")
Float: Any = _type("FLOAT", "min", "max", "step", "round")


@dataclass
class Schema:
    node_id: str
    display_name: str | None = None
    category: str = "sd"
    inputs: list[Any] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)
    description: str = ""
    is_output_node: bool = False

    def validate(self) -> None:
        ids = [each.id for each in self.inputs]
        if len(set(ids)) != len(ids):
            raise ValueError(f"input ids must be unique: {ids}")


class NodeOutput:
    def __init__(self, *args: Any, ui: Any = None) -> None:
        self.args, self.ui = args, ui


class ComfyNode(ABC):
    """A node; each node of the examples defines its schema and what it executes."""

    @classmethod
    @abstractmethod
    def define_schema(cls) -> Schema: ...

    @classmethod
    @abstractmethod
    def execute(cls, *args: Any, **kwargs: Any) -> NodeOutput: ...

    @classmethod
    def GET_SCHEMA(cls) -> Schema:  # noqa: N802
        schema = cls.define_schema()
        schema.validate()
        return schema
