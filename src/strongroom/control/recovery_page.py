"""A recovery kit, or one share, as a page to print: words, the lines to type, and a QR code.

The page is one HTML file that refers to nothing outside itself. Its code says exactly the lines
that would otherwise have to be typed, and so does its block of text, which `text_of` finds again:
a page that was never printed is a kit like any other. This module does no I/O.
"""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Final

from strongroom.control import recovery_kit

if TYPE_CHECKING:
    from strongroom.control.recovery_kit import RecoveryKit
    from strongroom.control.recovery_shares import KitShare

_DOCTYPE: Final = "<!doctype html>"
_LINES: Final = re.compile(r'<pre id="lines">(.*?)</pre>', re.DOTALL)

_PAGE: Final = """\
{doctype}
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
@page {{ size: A4; margin: 18mm; }}
body {{ font: 11pt/1.4 serif; color: #000; background: #fff; max-width: 174mm; margin: auto; }}
h1 {{ font-size: 18pt; margin: 0 0 4mm; }}
pre {{ font: 9.5pt/1.5 monospace; white-space: pre-wrap; overflow-wrap: anywhere; }}
#lines {{ border: 0.4mm solid #000; padding: 3mm; break-inside: avoid; }}
svg {{ display: block; width: 75mm; height: 75mm; margin: 4mm auto; break-inside: avoid; }}
</style>
</head>
<body>
<h1>{title}</h1>
<pre>{explanation}</pre>
{code}
<p>The code says the lines below. Typed into a file, they are the same; case, dashes and
spaces do not matter.</p>
<pre id="lines">{lines}</pre>
</body>
</html>
"""


def format_kit_page(kit: RecoveryKit) -> str:
    """Return the page of a kit."""
    return _page("Strongroom recovery kit", recovery_kit.EXPLANATION, recovery_kit.lines_of(kit))


def format_share_page(share: KitShare) -> str:
    """Return the page of a share."""
    title = f"Strongroom recovery share {share.share.number} of {share.count}"
    return _page(title, share.explanation, share.lines)


def text_of(text: str) -> str:
    """Return the lines that a page holds; of a text that is no page the text itself."""
    if not text.lstrip().lower().startswith(_DOCTYPE):
        return text
    found = _LINES.search(text)
    return html.unescape(found[1]) if found is not None else ""


def _page(title: str, explanation: str, lines: list[str]) -> str:
    import segno

    text = "\n".join(lines)
    # A quarter of the code may be stained or torn, and it still reads.
    code = segno.make(text, error="q", micro=False, boost_error=False)
    return _PAGE.format(
        doctype=_DOCTYPE,
        title=html.escape(title),
        explanation=html.escape(explanation.strip()),
        code=code.svg_inline(border=4, omitsize=True),
        lines=html.escape(text),
    )
