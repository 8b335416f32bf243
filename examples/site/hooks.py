"""What the site adds to the guides: both references, and links that leave their folder.

The command-line reference is made from the parser and the Python reference from docstrings, so
that neither can differ from the program. `mkdocs.yml` names this file.
"""

from __future__ import annotations

import argparse
import html
import re
import shutil
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).parents[1]
ROOT = EXAMPLES.parent
REPOSITORY = "https://github.com/sana-stream/sana-stream/blob/main"
IMAGES = (".png", ".webp")  # of the examples; they are copied into the site
PACKAGES = ("sana_stream", "sana_stream.engine", "sana_stream.streaming")
COMMAND_LINE = "<!-- made from the parser -->"
PYTHON = "<!-- made from the docstrings -->"
LINK = re.compile(r"(!?)\[([^\]]*)\]\((\.\./[^)#\s]+)(#[^)\s]*)?\)")

sys.path.insert(0, str(ROOT / ".src"))  # the sources, and not an installed wheel


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in the references and lead links that leave the guides to the repository."""
    if COMMAND_LINE in markdown:
        markdown = markdown.replace(COMMAND_LINE, "\n".join(command_line_reference()))
    if PYTHON in markdown:
        markdown = markdown.replace(PYTHON, "\n".join(python_reference()))
    return LINK.sub(lead_outside, markdown)


def on_post_build(config: Any) -> None:
    """Copy the images of the examples next to the pages."""
    for file in EXAMPLES.glob("demo.*"):
        shutil.copy(file, config["site_dir"])


def lead_outside(link: re.Match[str]) -> str:
    """A link to a file outside the guides as one to the repository; an image as a copy."""
    image, text, target, anchor = link.groups(default="")
    path = (EXAMPLES / "guides" / target).resolve()
    if not path.exists():
        raise FileNotFoundError(f"{link[0]} leads to nothing")
    if image and path.suffix in IMAGES and path.parent == EXAMPLES:
        return f'<img alt="{html.escape(text)}" src="{path.name}">'
    return f"{image}[{text}]({REPOSITORY}/{path.relative_to(ROOT).as_posix()}{anchor})"


def command_line_reference() -> Iterator[str]:
    """Every command with its options, in the order of `--help`."""
    main = import_module("sana_stream.cli.main")
    parser = import_module("sana_stream.cli.parser").build_parser("")
    yield from command_reference("sana-stream", parser)
    for name in re.findall(r"sana-stream (\w+) \.\.\.", main.summaries()):
        yield from command_reference(f"sana-stream {name}", main.find_command([name]).parser())


def command_reference(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    """One command: usage, a table for each group of options, and its examples."""
    yield from (f"## `{name}`", "", f"{parser.description}", "")
    yield from ("```text", parser.format_usage().removeprefix("usage: ").rstrip(), "```", "")
    for group in parser._action_groups:
        rows = [action for action in group._group_actions if action.help != argparse.SUPPRESS]
        if not rows:
            continue
        title = (group.title or "").replace("positional ", "")
        yield from (f"**{title[:1].upper()}{title[1:]}**", "", "| option | |", "|---|---|")
        for action in rows:
            yield f"| {cell(action_name(parser, action))} | {escaped(help_of(parser, action))} |"
        yield ""
    if parser.epilog:
        examples = parser.epilog.partition("\nother commands")[0]
        yield from ("```text", examples.strip(), "```", "")


def action_name(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """`-h, --help` or `--out OUTPUT`, as `--help` writes it."""
    return parser._get_formatter()._format_action_invocation(action)


def help_of(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """The help text with defaults filled in."""
    return parser._get_formatter()._expand_help(action) if action.help else ""


def cell(code: str) -> str:
    """Code in a table: a bar there would end the cell, and no line may break in an option."""
    return f'<code style="white-space: nowrap">{escaped(code)}</code>'


def escaped(text: str) -> str:
    """Plain text in a table of Markdown: what has a meaning there as entities."""
    text = html.escape(text, quote=False)
    return re.sub(r"[*_`~|\\\[\]]", lambda mark: f"&#{ord(mark[0])};", text)


def python_reference() -> Iterator[str]:
    """A heading for each public package and, below, each name that it exports."""
    described: set[str] = set()
    for name in PACKAGES:
        package = import_module(name)
        lines = list(exports(package, described))
        if lines:
            yield from (f"## `{name}`", "", *lines)


def exports(package: Any, described: set[str]) -> Iterator[str]:
    """mkdocstrings' instruction for each public class and function not described before."""
    for name in getattr(package, "__all__", ()):
        value = getattr(package, name)
        home = getattr(value, "__module__", None)
        if home is None or (path := f"{home}.{value.__qualname__}") in described:
            continue
        described.add(path)
        yield from (f"::: {path}", "    options:", f"      heading: {name}", "")
