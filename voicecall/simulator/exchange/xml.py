"""XML documents as simulated carriers read them: nothing declared, every attribute asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree

from voicecall.errors import CodecError

if TYPE_CHECKING:
    from collections.abc import Callable
    from xml.etree.ElementTree import Element


class Unreadable(CodecError):
    """No document at all; the message says why."""


def response(text: bytes) -> Element:
    """The `<Response>` that `text` is.

    Args:
        text: as it came.

    Raises:
        Unreadable: it is none, or declares a document type, which is how entities are made.
    """
    try:
        parser = ElementTree.XMLParser(target=_Builder())  # noqa: S314  (without a DOCTYPE there are no entities to expand)
        root = ElementTree.fromstring(text, parser)  # noqa: S314  (as above)
    except Unreadable:
        raise
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise Unreadable("no well-formed XML") from error
    if root.tag != "Response":
        raise Unreadable("the document is not a <Response>")
    return root


def content(element: Element) -> str:
    """The text in an element and those below, without white space around it."""
    return "".join(element.itertext()).strip()


class Attributes:
    """An element's attributes, each of which has to be asked for.

    Args:
        element: whose they are.
        complaint: makes the carrier's error of what is wrong.

    Attributes:
        highest: number that the carrier takes anywhere.
        left: those that were not asked for yet.
    """

    highest = 86_400

    def __init__(self, element: Element, complaint: Callable[[str], CodecError]) -> None:
        self._name = element.tag
        self._complaint = complaint
        self.left = dict(element.attrib)

    def text(self, name: str, default: str = "") -> str:
        """The text of an attribute."""
        return self.left.pop(name, default)

    def number(self, name: str, default: int, *, low: int = 0, high: int | None = None) -> int:
        """The whole number of an attribute. Raises the carrier's error."""
        text = self.left.pop(name, str(default))
        high = self.highest if high is None else high
        if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
            raise self.wrong(name)
        return int(text)

    def ignored(self, *names: str) -> None:
        """Take note that these are known, and make no difference here."""
        for name in names:
            self.left.pop(name, None)

    def unasked(self) -> list[str]:
        """What is wrong with those that nobody has asked for."""
        return [f"<{self._name}> has no attribute {name}" for name in self.left]

    def wrong(self, name: str) -> CodecError:
        """The carrier's error of a value that it does not understand."""
        return self._complaint(f"{name} of <{self._name}> makes no sense")


class _Builder(ElementTree.TreeBuilder):
    """Builds a tree without anything that a document could declare for itself."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        del name, pubid, system
        raise Unreadable("a document type is declared")
