"""Markdown as an independent renderer reads it (markdown-it, with GitHub's tables)."""

import re
from collections.abc import Iterator

from markdown_it import MarkdownIt
from markdown_it.token import Token

ALLOWED = {
    *("inline", "text", "code_inline", "softbreak"),
    *(
        f"{block}_{side}"
        for block in ("heading", "paragraph", "bullet_list", "list_item", "strong", "em", "blockquote")
        for side in ("open", "close")
    ),
    *(
        f"{part}_{side}"
        for part in ("table", "thead", "tbody", "tr", "th", "td")
        for side in ("open", "close")
    ),
    "code_block",
}  # fmt: skip
"""What our pages consist of; links, images, HTML and rules are not among it."""
OURS = re.compile(r"</?(sub|details|summary)>|\[!WARNING\]|\n")
GITHUB = re.compile(
    r"@[A-Za-z0-9]|#[0-9]|\bGH-[0-9]|https?:|www\.|\b[0-9a-f]{7,40}\b|:[a-z_]+:|\$|\[\^|\\[(\[]|~~|<!--",
    re.IGNORECASE,
)
"""What GitHub makes something of in text, but not in code: mentions, issues, addresses, commits,
emoji, formulas, notes."""

_READER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def tokens(text: str) -> Iterator[Token]:
    """All tokens of a page, those within lines too. Asserts that they are of ALLOWED kinds."""
    for token in _READER.parse(text):
        if token.type == "html_block":
            assert OURS.sub("", re.sub(r"All \d+ scores that changed", "", token.content)) == ""
            continue
        assert token.type in ALLOWED, (token.type, token.content)
        yield token
        for child in token.children or ():
            if child.type == "html_inline":
                assert OURS.fullmatch(child.content), child.content
                continue
            assert child.type in ALLOWED, (child.type, child.content)
            if child.type == "text":
                assert not GITHUB.search(OURS.sub("", child.content)), child.content
            yield child


def codes(text: str) -> list[str]:
    """What stands as code within lines, in the page's order."""
    return [token.content for token in tokens(text) if token.type == "code_inline"]


def lines(text: str) -> list[str]:
    """What is shown of each paragraph, heading and cell, without markup."""
    return [
        "".join(child.content for child in token.children or () if child.type != "html_inline")
        for token in tokens(text)
        if token.type == "inline"
    ]
