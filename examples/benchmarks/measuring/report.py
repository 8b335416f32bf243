"""The report: all records as Markdown tables, rewritten after each of them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from measuring.records import Record


@dataclass(frozen=True, slots=True)
class Column:
    """A value of the records and its heading; numbers have `digits` decimals, "e" an exponent."""

    key: str
    head: str
    digits: str = "1"

    def cell(self, row: Record) -> str:
        """The value of a row as text."""
        value = row.get(self.key)
        if isinstance(value, float):
            return f"{value:.1e}" if self.digits == "e" else f"{value:.{self.digits}f}"
        return "" if value is None else str(value)


@dataclass(frozen=True, slots=True)
class Table:
    """A kind of records: the file that its table is in, its title and its columns."""

    file: str
    title: str
    columns: tuple[Column, ...]

    def text(self, rows: Iterable[Record]) -> str:
        """The table as Markdown. The reason of a failure is in the first column."""
        heads = ["", *(column.head for column in self.columns)]
        lines = [_line(heads), "|" + "---|" * len(heads)]
        for row in rows:
            cells = [column.cell(row) for column in self.columns]
            if "error" in row:
                cells[0] = f"{cells[0]} {row['error']}".strip()
            lines.append(_line([row["name"], *cells]))
        return "\n".join((f"## {self.title}", "", *lines))


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


_GIB = (Column("allocated", "allocated GiB", "2"), Column("reserved", "reserved GiB", "2"))
_PROFILE = (Column("calls", "calls"), Column("ms", "ms", "2"), Column("shapes", "input shapes"))
_RATES = (
    Column("ms", "ms", "3"),
    Column("tflops", "TFLOP/s"),
    Column("gbs", "GB/s", "0"),
    Column("kernel", "kernels"),
)
# In each file in this order: what is looked for is at the end.
TABLES = {
    "versions": Table("speed.md", "Machine", (Column("value", ""),)),
    "steps": Table("speed.md", "Steps", (Column("outcome", ""), Column("seconds", "s"))),
    "checks": Table(
        "speed.md",
        "Checks",
        (
            Column("difference", "largest difference", "e"),
            Column("allowed", "allowed", "e"),
            Column("verdict", ""),
        ),
    ),
    "decoding": Table(
        "speed.md",
        "Decoding a block in pieces",
        (Column("ms", "ms"), *_GIB),
    ),
    "memory": Table("speed.md", "Peak memory", _GIB),
    "gaps": Table(
        "speed.md",
        "Stages of a block",
        (
            Column("wall_ms", "wall ms"),
            Column("kernel_ms", "sum of kernels ms"),
            Column("launches", "kernels"),
        ),
    ),
    "speed": Table(
        "speed.md",
        "Speed",
        (
            Column("cold", "first frame cold s", "2"),
            Column("warm", "first frame warm s", "2"),
            Column("call_ms", "denoising call ms"),
            Column("commit_ms", "commit ms"),
            Column("decode_ms", "decode ms"),
            Column("encode_ms", "encode ms"),
            Column("block_ms", "block ms"),
            Column("overlapped_ms", "overlapped ms"),
            Column("fps", "frames/s"),
            Column("peak", "peak GiB", "2"),
            Column("share", "% of floor", "0"),
        ),
    ),
    "rates": Table("probe.md", "Copies and products", _RATES),
    "attention": Table("probe.md", "Attention", _RATES),
    "passes": Table("probe.md", "Passes over memory", _RATES),
    "convolutions": Table("probe.md", "Convolutions of the Wan decoder", _RATES),
    "operations": Table("profile.md", "Operations by shape", _PROFILE),
    "profile": Table("profile.md", "Kernels", _PROFILE),
}
LAST = ("steps", "checks", "gaps", "memory", "speed")  # printed at the end


class Report:
    """Records by table and name, and the files that show them.

    Args:
        folder: where the files are written; it is created.
        title: first line of each Markdown file.
    """

    def __init__(self, folder: Path, title: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._title = title
        self._rows: dict[str, dict[str, Record]] = {}
        self._commands: list[str] = []
        self._lines: TextIO = (folder / "figures.jsonl").open("w", encoding="utf-8")

    def add(self, record: Record) -> None:
        """Add a record to its row and write the files."""
        self._lines.write(json.dumps(record) + "\n")
        self._lines.flush()
        rows = self._rows.setdefault(record["table"], {})
        rows.setdefault(record["name"], {}).update(record)
        self._write(TABLES[record["table"]].file if record["table"] in TABLES else "speed.md")

    def add_command(self, command: str) -> None:
        """Add a line to the commands at the end of the report."""
        self._commands.append(command)
        self._write("speed.md")

    def row(self, table: str, name: str) -> Record:
        """The row of a name so far, empty if there is none."""
        return self._rows.get(table, {}).get(name, {})

    def summary(self) -> str:
        """The tables that are printed at the end."""
        return "\n\n".join(self._texts(LAST))

    def close(self) -> None:
        """Close the file of the records."""
        self._lines.close()

    def _texts(self, names: Iterable[str]) -> list[str]:
        return [
            TABLES[name].text(self._rows[name].values()) for name in names if name in self._rows
        ]

    def _write(self, file: str) -> None:
        parts = [self._title, *self._texts(n for n, table in TABLES.items() if table.file == file)]
        if file == "speed.md":
            parts.append("\n".join(f"    {command}" for command in self._commands))
        whole = self._folder / f".{file}"
        whole.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
        os.replace(whole, self._folder / file)  # an interrupted run leaves a complete file


def shown(record: Record) -> str:
    """A record as a line of text."""
    values: dict[str, Any] = {k: v for k, v in record.items() if k not in ("table", "name")}
    words = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in values.items())
    return f"  {record['table']}: {record['name']}: {', '.join(words)}"
