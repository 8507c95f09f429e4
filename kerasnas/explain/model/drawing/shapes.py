"""What a picture is made of, whatever file it goes to."""

import unicodedata
from dataclasses import dataclass

from kerasnas.explain.model.drawing.layout import Line

__all__ = ["Curve", "Group", "Rectangle", "Scene", "Shape", "Text", "fit", "text_width", "wrap"]


@dataclass(frozen=True)
class Rectangle:
    """A rectangle; `stroke` None draws no border."""

    x: float
    y: float
    width: float
    height: float
    fill: str
    stroke: str | None = None
    thickness: float = 1.0
    radius: float = 0.0
    dashed: bool = False


@dataclass(frozen=True)
class Text:
    """One line of text, `y` at its baseline; `anchor` "start", "middle" or "end" is what lies at `x`."""

    x: float
    y: float
    text: str
    size: float
    fill: str
    bold: bool = False
    anchor: str = "start"


@dataclass(frozen=True)
class Curve:
    """A line of the layout."""

    line: Line
    stroke: str
    thickness: float = 1.5


@dataclass(frozen=True)
class Group:
    """Shapes that belong together, and what is shown where the pointer is on them."""

    title: str
    shapes: tuple["Rectangle | Text | Curve | Group", ...]


Shape = Rectangle | Text | Curve | Group


@dataclass(frozen=True)
class Scene:
    """A whole picture, pixels; `title` and `description` are read to those who do not see it."""

    width: float
    height: float
    title: str
    description: str
    shapes: tuple[Shape, ...]


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Return about how wide a text is in a wide sans-serif font, so that it fits in a narrower one too; pixels."""
    return sum(_em(letter) for letter in text) * size * (1.1 if bold else 1.0)


def fit(text: str, width: float, size: float, *, bold: bool = False) -> str:
    """Cut a text to a width."""
    if text_width(text, size, bold=bold) <= width:
        return text
    while text and text_width(text + "…", size, bold=bold) > width:
        text = text[:-1]
    return text.rstrip() + "…"


def wrap(text: str, width: float, size: float, *, lines: int, bold: bool = False) -> list[str]:
    """Break a text at spaces into at most so many lines, each cut to the width."""
    found: list[str] = []
    for word in text.split(" "):
        longer = f"{found[-1]} {word}" if found else word
        if found and (len(found) == lines or text_width(longer, size, bold=bold) <= width):
            found[-1] = longer
        else:
            found.append(word)
    return [fit(line, width, size, bold=bold) for line in found]


def _em(letter: str) -> float:
    if unicodedata.combining(letter):
        return 0.0
    if unicodedata.east_asian_width(letter) in "WF":
        return 1.0
    if letter in "iljtfrI.,:;|!'()[] /":
        return 0.38
    return 1.02 if letter in "mwMW@%…" else 0.7 if letter.isupper() else 0.62
