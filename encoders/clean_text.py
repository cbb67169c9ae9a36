"""Texts without markup, broken characters and repetitions. Pure; every pattern is bounded, since
anybody may send 65,536 characters of anything.
"""

import html
import re
import unicodedata
from html.parser import HTMLParser

_TAGS = (
    "a|abbr|address|article|aside|audio|b|big|blockquote|body|br|button|caption|center|cite|"
    "code|col|colgroup|dd|del|details|div|dl|dt|em|fieldset|figcaption|figure|font|footer|"
    "form|h[1-6]|head|header|hr|html|i|iframe|img|input|ins|kbd|label|li|link|main|mark|menu|"
    "meta|nav|noscript|ol|option|p|picture|pre|q|s|samp|script|section|select|small|source|"
    "span|strike|strong|style|sub|summary|sup|svg|table|tbody|td|textarea|tfoot|th|thead|"
    "time|title|tr|tt|u|ul|var|video"
)
_TAG = re.compile(rf"</?(?:{_TAGS})(?:[\s/][^<>]*)?>", re.IGNORECASE)
_NO_TAG = re.compile(rf"<(?!/?(?:{_TAGS})(?:[\s/][^<>]*)?>)", re.IGNORECASE)
_DOCTYPE = re.compile(r"<!doctype[^<>]{0,500}>", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")
_LONE_AMPERSAND = re.compile(rf"&(?!{_ENTITY.pattern[1:]})")
_INLINE = frozenset(
    re.split(
        r"\|",
        "a|abbr|b|big|cite|code|del|em|font|i|ins|kbd|label|mark|q|s|samp|small|span|strike|"
        "strong|sub|sup|tt|u|var",
    )
)

_MARKDOWN = (
    (re.compile(r"^ {0,3}(?:```|~~~)[^\n`]*$", re.MULTILINE), ""),  # fences
    (
        re.compile(r"!?\[([^\[\]\n]{0,200})\]\([^()\s]{1,500}(?: \"[^\"\n]{0,200}\")?\)"),
        r"\1",
    ),
    (re.compile(r"^ {0,3}#{1,6}[ \t]+", re.MULTILINE), ""),  # headings
    (re.compile(r"^ {0,3}(?:>[ \t]?)+", re.MULTILINE), ""),  # quotations
    (re.compile(r"^ {0,3}[-*+][ \t]+", re.MULTILINE), ""),  # lists
    (re.compile(r"^ {0,3}(?:[-*_][ \t]*){3,40}$", re.MULTILINE), ""),  # rules
    (re.compile(r"(?<![\w*])\*\*(?=\S)([^\n]{1,200}?)(?<=\S)\*\*(?![\w*])"), r"\1"),
    (re.compile(r"(?<![\w_])__(?=\S)([^\n]{1,200}?)(?<=\S)__(?![\w_])"), r"\1"),
    (re.compile(r"(?<![\w*])\*(?=[^\s*])([^\n*]{1,200}?)(?<=\S)\*(?![\w*])"), r"\1"),
    (re.compile(r"(?<![\w_])_(?=[^\s_])([^\n_]{1,200}?)(?<=\S)_(?![\w_])"), r"\1"),
    (re.compile(r"~~(?=\S)([^\n~]{1,200}?)~~"), r"\1"),
    (re.compile(r"`([^`\n]{1,200})`"), r"\1"),
)

# Not the zero-width joiner and non-joiner: Persian, Indic scripts and emoji are spelt with them.
_INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_SENTENCE_END = re.compile(r"(?<=[.!?])(?=[ \t])|(?<=[。！？])")
_SHORT = 6  # letters: what is shorter ("No.", "Mr.") may well be said twice


def without_markup(text: str) -> str:
    """HTML and Markdown taken off, entities decoded, scripts and styles dropped whole. What only
    looks like a tag (`x < y`, `List<String>`, `<3`) stays as it is."""
    text = _DOCTYPE.sub("", _without_comments(text))
    if _TAG.search(text):
        words = _Words()
        words.feed(_LONE_AMPERSAND.sub("&amp;", _NO_TAG.sub("&lt;", text)))
        words.close()
        text = "".join(words.said)
    else:
        text = _ENTITY.sub(lambda found: html.unescape(found[0]), text)
    for pattern, kept in _MARKDOWN:
        text = pattern.sub(kept, text)
    return text


def repaired(text: str) -> str:
    """UTF-8 that was read as Latin-1 or cp1252 put right (ftfy, Speer 2019), Unicode NFC, and no
    characters that nobody sees. Typographic quotes and wide letters stay."""
    import ftfy

    text = ftfy.fix_text(text, _settings())
    text = "".join(
        c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs", "Cn") else " "
        for c in text
    )
    return _INVISIBLE.sub("", text)


def without_repeats(text: str) -> str:
    """Each line and each sentence once, at its first place: a title that the description begins
    with, a signature under each paragraph. Case and punctuation do not make another sentence."""
    seen: set[str] = set()
    lines = []
    for line in text.split("\n"):
        if (whole := _key(line)) and whole in seen:
            continue
        sentences = _SENTENCE_END.split(line)
        lines.append("".join(s for s in sentences if not _again(s, seen)))
        if len(whole) >= _SHORT:
            seen.add(whole)
    return "\n".join(lines)


def tidy(text: str) -> str:
    """One blank between words, no empty lines, nothing at the ends; "" if nothing is to be seen."""
    lines = (" ".join(line.split()) for line in text.splitlines())
    text = "\n".join(line for line in lines if line)
    return text if any(unicodedata.category(c)[0] not in "CZ" for c in text) else ""


def same_text(a: str, b: str, *, share: float = 0.9) -> bool:
    """Whether two texts say the same in nearly the same words: the Jaccard index of their word
    triples (Broder 1997) reaches `share`."""
    first, second = _shingles(a), _shingles(b)
    return len(first & second) >= share * len(first | second)


def _again(sentence: str, seen: set[str]) -> bool:
    key = _key(sentence)
    if len(key) < _SHORT:
        return False
    known = key in seen
    seen.add(key)
    return known


def _key(text: str) -> str:
    return "".join(c for c in text.casefold() if c.isalnum())


def _shingles(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.casefold())
    if not words:
        return {(text,)}
    return {tuple(words[at : at + 3]) for at in range(max(1, len(words) - 2))}


def _without_comments(text: str) -> str:
    """By hand: a pattern would look for the end again and again where there is none."""
    kept, at = [], 0
    while (begin := text.find("<!--", at)) >= 0 and (end := text.find("-->", begin)) >= 0:
        kept.append(text[at:begin])
        at = end + 3
    return "".join([*kept, text[at:]])


def _settings() -> "ftfy.TextFixerConfig":  # type: ignore[name-defined]  # noqa: F821
    from ftfy import TextFixerConfig

    return TextFixerConfig(
        unescape_html=False, uncurl_quotes=False, fix_character_width=False, explain=False
    )


class _Words(HTMLParser):
    """What is to be read in a page. (A subclass, for html.parser has no other door.)"""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.said: list[str] = []
        self.silent = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        if tag in ("script", "style"):
            self.silent = tag
        if tag not in _INLINE:
            self.said.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag == self.silent:
            self.silent = ""
        if tag not in _INLINE:
            self.said.append("\n")

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self.said.append(data)
