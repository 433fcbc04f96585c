"""Renders a report as one self-contained HTML page."""

from collections.abc import Sequence
from html import escape
from typing import Any

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<style>
body {{ font: 15px/1.5 sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em; }}
table {{ border-collapse: collapse; margin: 1em 0; }}
th, td {{ border-bottom: 1px solid #ccc; padding: 0.3em 0.8em; text-align: right; }}
th:first-child, td:first-child {{ text-align: left; }}
.was, .now {{ height: 0.6em; margin: 1px 0; }}
.was {{ background: #b8c4ce; }}
.now {{ background: #2a6f97; }}
</style>
</head>
<body>
<h1>{title}</h1>
{content}
</body>
</html>
"""


def render_page(
    title: str, sentences: Sequence[str], rows: Sequence[dict[str, Any]], pictures: Sequence[str] = ()
) -> str:
    """Render sentences, a table whose columns are the first row's keys, and pictures in HTML."""
    content = [f"<p>{escape(sentence)}</p>" for sentence in sentences]
    if rows:
        head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in rows[0])
        body = "".join(
            f"<tr>{''.join(f'<td>{escape(format_figure(value))}</td>' for value in row.values())}</tr>" for row in rows
        )
        content.append(f"<table><tr>{head}</tr>{body}</table>")
    return _PAGE.format(title=escape(title), content="\n".join([*content, *pictures]))


def format_figure(value: Any) -> str:
    """Format a figure, with its interval if it has one."""
    if value is None:
        return "not known"
    if isinstance(value, tuple):
        return f"{value[0]:.4g} ({value[1]:.4g} to {value[2]:.4g})"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
