"""The frame of every page: its head, its style, and what a browser may load for it, which is nothing.

Pages have no scripts: the switches are form controls, whose state the style sheet reads with ``:has()``.
A page so works wherever scripts are forbidden, as in mail programs and under the sandbox's own headers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fullstory_async.notebook_html import clip, escape

__all__ = ["POLICY", "document", "fact_list", "notice"]

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""The Content Security Policy of every page."""

_MAX_FACT = 200

_STYLE = """
:root{color-scheme:light dark;--back:#fff;--bar:#f6f7f9;--line:#8884;--dim:#666;--error:#c62828;
--warn:#a15c00;--go:#1565c0;--act:#2e7d32;--band:#dbe4f0}
@media(prefers-color-scheme:dark){:root{--back:#16181c;--bar:#20242b;--dim:#a0a4ab;--error:#ff8a80;
--warn:#ffb74d;--go:#90caf9;--act:#a5d6a7;--band:#2c3a4d}}
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:1.5rem auto;padding:0 1rem;
background:var(--back)}
h1{font-size:1.4rem;margin:0;overflow-wrap:anywhere}
h2{font-size:1.05rem;margin:1.4rem 0 .1rem;overflow-wrap:anywhere}
p{margin:.2rem 0}a{color:var(--go)}.dim{color:var(--dim);overflow-wrap:anywhere}
ul.facts{list-style:none;display:flex;flex-wrap:wrap;gap:.3rem 1.4rem;padding:.6rem 0;margin:.6rem 0;
border-block:1px solid var(--line)}ul.facts li{overflow-wrap:anywhere}
.summary{border-left:3px solid var(--go);padding:.1rem 0 .1rem .8rem;margin:.8rem 0;white-space:pre-wrap;
overflow-wrap:anywhere}
.note{background:var(--bar);border:1px solid var(--line);border-radius:.4rem;
padding:.3rem .7rem;margin:.6rem 0}
.error{color:var(--error)}.warn{color:var(--warn)}.go{color:var(--go)}
figure{margin:.8rem 0}figure svg{display:block;width:100%}
figcaption{display:flex;flex-wrap:wrap;gap:.1rem 1rem;color:var(--dim);font-size:.85rem}
figcaption .end{margin-left:auto}
svg .error{fill:var(--error)}svg .warn{fill:var(--warn)}svg .go{fill:var(--go)}svg .act{fill:var(--act)}
svg .band{fill:var(--band)}svg .hit{fill:transparent}svg .hit:hover{fill:var(--line)}
.key::before{content:"";display:inline-block;width:.7rem;height:.7rem;border-radius:2px;margin-right:.35rem;
background:var(--key)}
.key.error{--key:var(--error)}.key.warn{--key:var(--warn)}.key.go{--key:var(--go)}.key.act{--key:var(--act)}
table{border-collapse:collapse;width:100%}caption{text-align:left;font-weight:600;padding:1.2rem 0 .2rem}
th{text-align:left;font-weight:500}
td,th{padding:.18rem .7rem .18rem 0;vertical-align:top;border-bottom:1px solid var(--line);
overflow-wrap:anywhere}
:focus-visible{outline:2px solid var(--go);outline-offset:2px}
@media print{body{max-width:none;margin:0;font-size:11px}svg,.key::before{print-color-adjust:exact;
-webkit-print-color-adjust:exact}h2{break-after:avoid}tr{break-inside:avoid}}
"""


def document(title: str, body: Iterable[str], *, style: str = "") -> str:
    """Return a complete page.

    Args:
        title: its title, as text.
        body: its content, as HTML.
        style: rules of this kind of page, as CSS.
    """
    return "".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            '<meta name="referrer" content="no-referrer">',
            f"<title>{escape(clip(title, _MAX_FACT))}</title><style>{_STYLE}{style}</style></head><body>",
            *body,
            "</body></html>\n",
        )
    )


def fact_list(facts: Iterable[str]) -> str:
    """Return a list of short facts, given as text."""
    items = "".join(f"<li>{escape(clip(fact, _MAX_FACT))}</li>" for fact in facts)
    return f'<ul class="facts">{items}</ul>'


def notice(text: str) -> Iterator[str]:
    """Yield a note that people must not miss, unless the text is empty."""
    if text:
        yield f'<p class="note">{escape(text)}</p>'
