"""Pages of quarry report, read with a parser of its own, and the digits of numbers as JSON has them."""
import html.parser

VOID = {"meta", "br", "hr", "img", "input", "link", "wbr", "col"}


class Digits(str):
    """A number as its digits in a JSON file."""


class Node:
    def __init__(self, tag, attributes, parent):
        self.tag, self.attributes, self.parent = tag, attributes, parent
        self.children, self.text = [], ""

    def all(self, tag=None, **attributes):
        for child in self.children:
            if (tag is None or child.tag == tag) and all(
                    child.attributes.get(k.strip("_").replace("_", "-")) == v for k, v in attributes.items()):
                yield child
            yield from child.all(tag, **attributes)

    def words(self):
        return self.text + "".join(child.words() for child in self.children)

    def has(self, name):
        return name in (self.attributes.get("class") or "").split()


class Tree(html.parser.HTMLParser):
    """Balanced tags only; attributes once each."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.root = self.at = Node("", {}, None)
        self.faults = []
        self.feed(text)
        self.close()
        if self.at is not self.root:
            self.faults.append(f"<{self.at.tag}> is not closed")

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        if len(names) != len(set(names)):
            self.faults.append(f"<{tag}> has an attribute twice: {names}")
        node = Node(tag, dict(attributes), self.at)
        self.at.children.append(node)
        if tag not in VOID:
            self.at = node

    def handle_startendtag(self, tag, attributes):  # <line .../> in an SVG
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.at = self.at.parent

    def handle_endtag(self, tag):
        if tag != self.at.tag:
            self.faults.append(f"</{tag}> closes <{self.at.tag}>")
        else:
            self.at = self.at.parent

    def handle_data(self, data):
        self.at.text += data


def numbers(value):
    """Every number below a value."""
    if isinstance(value, Digits):
        yield str(value)
    elif isinstance(value, dict):
        for entry in value.values():
            yield from numbers(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from numbers(entry)


def visible(text):
    """As a page shows a text: what cannot be seen is named. Written from docs/report.md, not from the program."""
    out = ""
    for c in text:
        n = ord(c)
        if 0x80 <= n < 0xA0 or 0x2028 <= n <= 0x202E or 0x2066 <= n <= 0x2069 or n == 0xFEFF:
            out += f"[U+{n:04X}]"
        elif n < 0x20 and c not in "\n\t":
            out += chr(0x2400 + n)
        else:
            out += "\u2421" if n == 0x7F else c
    return out


def values(page):
    """Every exact number below a node."""
    return [n.attributes["data-value"] for n in page.all() if "data-value" in n.attributes]


def page_rows(table):
    return list(next(table.all("tbody")).children)
