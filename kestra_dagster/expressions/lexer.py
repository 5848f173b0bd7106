"""Cut a template into tokens, by the rules of Pebble's lexer (newline trimming off)."""

from __future__ import annotations

import re
from typing import NamedTuple

from kestra_dagster.expressions.errors import ExpressionSyntaxError


class Token(NamedTuple):
    """`kind` is one of the words used in `tokenize`; operators have their own text as value."""

    kind: str
    value: str
    offset: int


_OPEN = re.compile(r"\{\{|\{%|\{#")
_CLOSE = {"print": re.compile(r"\s*-?\}\}"), "tag": re.compile(r"\s*-?%\}")}
_CLOSES_TRIMMED = re.compile(r"\s*-(?:\}\}|%\}|#\})")
_TRIM_BEFORE = re.compile(r"-\s+")
_COMMENT_TRIMMED = re.compile(r"\s-\Z")
_VERBATIM = re.compile(r"\s*verbatim\s*-?%\}")
_END_VERBATIM = re.compile(r"\{%(-)?\s*endverbatim\s*(-)?%\}")
RAW = re.compile(r"\{%-*\s*raw\s*-*%\}(.*?)\{%-*\s*endraw\s*-*%\}", re.DOTALL)
"""Kestra's own tag: not rendered, and its markers are removed at the very end."""

_WORD_END = r"(?![a-zA-Z0-9_])"
_SPACE = re.compile(r"\s+")
_LEXEME = re.compile(
    rf"(?P<operator>contains{_WORD_END}|equals{_WORD_END}|is\s+not{_WORD_END}|not\s+in{_WORD_END}"
    rf"|isIn{_WORD_END}|not{_WORD_END}|and{_WORD_END}|or{_WORD_END}|is{_WORD_END}"
    r"|\?\?\?|\?\?|==|!=|>=|<=|\.\.|[><+\-*/%|~])"
    r"|(?P<name>[^\W\d]\w*)"
    r"|(?P<long>[0-9]+L)"
    r"|(?P<number>[0-9]+(?:\.[0-9]+)?)"
    r"|(?P<punctuation>[()\[\]{}?:.,=])"
    r'|(?P<string>"(?:[^#"\\]*(?:\\.[^#"\\]*)*)"' + r"|'(?:[^'\\]*(?:\\.[^'\\]*)*)')"
    r'|(?P<quote>")',
    re.DOTALL,
)
_STRING_PART = re.compile(r'[^#"\\]*(?:(?:\\.|#(?!\{))[^#"\\]*)*', re.DOTALL)
_INTERPOLATION_END = re.compile(r"\s*\}")
_PAIRS = {")": "(", "]": "[", "}": "{"}
_FOREIGN = {
    "&": "write `and`",
    "!": "write `not`",
    "'": "the string has no closing quote",
    "$": "write the variable's name without `$`",
    "`": "quote strings with ' or \"",
}


def tokenize(source: str) -> list[Token]:
    """Return the tokens of a template, the last one of kind `end`."""
    return _Lexer(source).run()


class _Lexer:
    def __init__(self, source: str) -> None:
        self.source = source
        self.position = 0
        self.tokens: list[Token] = []
        self.last_raw = source.rfind("endraw")
        self.trim_next = False

    def run(self) -> list[Token]:
        while self.position < len(self.source):
            self.data()
        self.push("end", "", len(self.source))
        return self.tokens

    def push(self, kind: str, value: str, offset: int) -> None:
        self.tokens.append(Token(kind, value, offset))

    def fail(self, message: str, offset: int, hint: str | None = None) -> ExpressionSyntaxError:
        return ExpressionSyntaxError(message, hint=hint, expression=self.source, offset=offset)

    def data(self) -> None:
        """Take the text up to the next delimiter, then what the delimiter opens."""
        start = self.position
        found = _OPEN.search(self.source, start)
        text = self.source[start : found.start() if found else len(self.source)]
        if self.trim_next:
            text = text.lstrip()
            self.trim_next = False
        if not found:
            self.position = len(self.source)
            self.text(text, start)
            return
        opened = found.group()
        self.position = found.end()
        raw = None
        if opened == "{%" and found.start() < self.last_raw:
            raw = RAW.match(self.source, found.start())
        if raw:
            self.text(text + raw.group(), start)
            self.position = raw.end()
            return
        if trim := _TRIM_BEFORE.match(self.source, self.position):
            text = text.rstrip()
            self.position = trim.end()
        self.text(text, start)
        if opened == "{#":
            self.comment(found.start())
        elif opened == "{{":
            self.push("print", "{{", found.start())
            self.expression("print", found.start())
        elif verbatim := _VERBATIM.match(self.source, self.position):
            self.verbatim(verbatim.end(), found.start())
        else:
            self.push("tag", "{%", found.start())
            self.expression("tag", found.start())

    def text(self, text: str, offset: int) -> None:
        if text:
            self.push("text", text, offset)

    def comment(self, start: int) -> None:
        end = self.source.find("#}", self.position)
        if end < 0:
            raise self.fail("the comment is not closed", start, "close it with `#}`")
        self.trim_next = bool(_COMMENT_TRIMMED.search(self.source, self.position, end))
        self.position = end + 2

    def verbatim(self, start: int, opened: int) -> None:
        end = _END_VERBATIM.search(self.source, start)
        if not end:
            raise self.fail("`verbatim` is not closed", opened, "close it with `{% endverbatim %}`")
        text = self.source[start : end.start()].lstrip()
        if end.group(1):
            text = text.rstrip()
        self.trim_next = bool(end.group(2))
        self.text(text, start)
        self.position = end.end()

    def expression(self, kind: str, opened: int) -> None:
        """Take tokens until the closing delimiter of a `{{` or `{%`."""
        closing = _CLOSE[kind]
        brackets: list[tuple[str, int]] = []
        while True:
            if _CLOSES_TRIMMED.match(self.source, self.position):
                self.trim_next = True
            if not brackets and (close := closing.match(self.source, self.position)):
                self.push(f"end_{kind}", close.group().strip(), close.start())
                self.position = close.end()
                return
            if not self.lexeme(brackets):
                what = brackets[-1] if brackets else ("{{" if kind == "print" else "{%", opened)
                raise self.fail(f"`{what[0]}` is not closed", what[1])

    def lexeme(self, brackets: list[tuple[str, int]]) -> bool:
        """Take one token (an interpolated string as a whole); False at the end of the source."""
        if space := _SPACE.match(self.source, self.position):
            self.position = space.end()
        start = self.position
        if start >= len(self.source):
            return False
        found = _LEXEME.match(self.source, start)
        if not found:
            char = self.source[start]
            raise self.fail(f"unexpected character `{char}`", start, _FOREIGN.get(char))
        kind, value = str(found.lastgroup), found.group()
        self.position = found.end()
        if kind == "quote":
            self.interpolated(start)
            return True
        if kind == "punctuation":
            self.balance(value, start, brackets)
        elif kind == "string":
            quote = value[0]
            value = value[1:-1].replace("\\" + quote, quote)
        elif kind == "long":
            kind, value = "number", value[:-1]
        elif kind == "operator":
            value = " ".join(value.split())
        self.push(kind, value, start)
        return True

    def balance(self, char: str, offset: int, brackets: list[tuple[str, int]]) -> None:
        if char in "([{":
            brackets.append((char, offset))
        elif char in _PAIRS:
            if not brackets:
                raise self.fail(f"unexpected `{char}`", offset)
            opened, start = brackets.pop()
            if opened != _PAIRS[char]:
                raise self.fail(f"`{opened}` is not closed", start)

    def interpolated(self, start: int) -> None:
        """Take the rest of a double-quoted string with `#` in it: text parts and `#{...}` parts."""
        while True:
            if self.source.startswith("#{", self.position):
                self.push("interpolation", "#{", self.position)
                self.position += 2
                self.inside_interpolation()
                continue
            part = _STRING_PART.match(self.source, self.position)
            if part and part.group():
                self.push("string", part.group(), self.position)
                self.position = part.end()
            elif self.source.startswith('"', self.position):
                self.position += 1
                return
            else:
                raise self.fail("the string has no closing quote", start)

    def inside_interpolation(self) -> None:
        start = self.position - 2
        brackets: list[tuple[str, int]] = []
        while True:
            close = _INTERPOLATION_END.match(self.source, self.position)
            if not brackets and close:
                self.push("end_interpolation", "}", close.end() - 1)
                self.position = close.end()
                return
            if not self.lexeme(brackets):
                raise self.fail("`#{` is not closed", start)
