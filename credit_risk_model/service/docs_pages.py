"""Documentation pages `/docs` and `/redoc`, which work without the internet and load nothing from other hosts.

The framework's pages load their scripts from a CDN. Here the scripts are files from fastapi-offline: Swagger UI and
Redoc as published. Nothing else of that package is used.
"""

from base64 import b64encode
from hashlib import sha256
from html import escape
from importlib.util import find_spec
from pathlib import Path

from credit_risk_model.service.server import Answer

_ASSETS = {
    "favicon.png": "image/png",
    "redoc.standalone.js": "text/javascript; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
}
# Redoc fetches its vendor's logo from the internet, and has no setting for it. An empty image replaces it.
_LOGO = b"https://cdn.redoc.ly/redoc/logo-mini.svg"
_NO_LOGO = b"data:,"

# All URLs are relative, so the pages also work behind a proxy that adds a prefix.
_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" type="image/png" href="docs/assets/favicon.png">
{link}<style>{style}</style>
</head>
<body>
<div id="page"></div>
<script src="docs/assets/{script}"></script>
<script>{start}</script>
</body>
</html>
"""
_SWAGGER_LINK = '<link rel="stylesheet" href="docs/assets/swagger-ui.css">\n'
_SWAGGER_START = (
    'SwaggerUIBundle({url: "openapi.json", dom_id: "#page", deepLinking: true, displayRequestDuration: true, '
    "validatorUrl: null})"
)
_STYLE = "body { margin: 0; }"
# Redoc's search needs a worker created from a blob, which the content security policy forbids.
_REDOC_START = 'Redoc.init("openapi.json", {disableSearch: true}, document.getElementById("page"))'
# Style elements that Redoc adds: one that it fills later, and the one of its scroll bar.
_REDOC_STYLES = (
    "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=' 'sha256-QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc='"
)

_HEADERS = [
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
]


def pages(title: str) -> dict[str, Answer]:
    """Return the pages and their assets by path; the files are read once."""
    static = Path(str(find_spec("fastapi_offline").origin)).parent / "static"  # type: ignore[union-attr]
    found = {
        f"/docs/assets/{name}": Answer(
            200,
            (static / name).read_bytes().replace(_LOGO, _NO_LOGO),
            content_type.encode(),
            [*_HEADERS, (b"cache-control", b"max-age=3600")],
        )
        for name, content_type in _ASSETS.items()
    }
    found["/docs"] = _make_page(title, "swagger-ui-bundle.js", _SWAGGER_START, _SWAGGER_LINK)
    found["/redoc"] = _make_page(title, "redoc.standalone.js", _REDOC_START)
    return found


def _make_page(title: str, script: str, start: str, link: str = "") -> Answer:
    """Create a page with an inline script and a vendor's script, which can connect to this service only."""
    content = _PAGE.format(title=escape(title), script=script, start=start, link=link, style=_STYLE)
    policy = (
        "default-src 'none'",
        f"script-src 'self' {_digest(start)}",
        f"style-src 'self' {_digest(_STYLE)} {_REDOC_STYLES}",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
    headers = [
        *_HEADERS,
        (b"cache-control", b"no-cache"),
        (b"content-security-policy", "; ".join(policy).encode()),
    ]
    return Answer(200, content.encode(), b"text/html; charset=utf-8", headers)


def _digest(inline: str) -> str:
    return f"'sha256-{b64encode(sha256(inline.encode()).digest()).decode()}'"
