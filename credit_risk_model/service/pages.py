"""The documentation pages, `/docs` and `/redoc`: whole without the internet, and closed to whatever else is there.

The framework's pages load their scripts from a content delivery network. Here these come from fastapi-offline, of which
nothing but the files is used: Swagger UI and Redoc as their makers publish them.
"""

from base64 import b64encode
from hashlib import sha256
from html import escape
from importlib.util import find_spec
from pathlib import Path

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

_ASSETS = {
    "favicon.png": "image/png",
    "redoc.standalone.js": "text/javascript",
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
}
# Redoc fetches its maker's logo from the internet, without a setting to leave it out; it does without one that is none.
_LOGO = b"https://cdn.redoc.ly/redoc/logo-mini.svg"
_NO_LOGO = b"data:,"

# All addresses are relative, so that the pages also work behind a proxy that adds a prefix.
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
# Its search would run in a worker made from a blob, which the policy doesn't let in.
_REDOC_START = 'Redoc.init("openapi.json", {disableSearch: true}, document.getElementById("page"))'
# What Redoc puts into the page: a style element that it fills later, and the one of its scroll bar.
_REDOC_STYLES = (
    "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=' 'sha256-QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc='"
)

_HEADERS = {
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def put_pages(framework: FastAPI) -> None:
    """Put the pages in the place of the framework's own."""
    replaced = {framework.docs_url, framework.swagger_ui_oauth2_redirect_url, framework.redoc_url}
    framework.router.routes[:] = [
        route for route in framework.router.routes if getattr(route, "path", None) not in replaced
    ]
    swagger = _Page(framework.title, "swagger-ui-bundle.js", _SWAGGER_START, _SWAGGER_LINK)
    redoc = _Page(framework.title, "redoc.standalone.js", _REDOC_START)
    framework.add_route("/docs", swagger.answer, include_in_schema=False)
    framework.add_route("/redoc", redoc.answer, include_in_schema=False)
    framework.add_route("/docs/assets/{name}", _asset, include_in_schema=False)


class _Page:
    """A page that runs one script of ours and one of its maker's, and may talk to this service only."""

    def __init__(self, title: str, script: str, start: str, link: str = "") -> None:
        self._content = _PAGE.format(title=escape(title), script=script, start=start, link=link, style=_STYLE)
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
        self._headers = _HEADERS | {"Content-Security-Policy": "; ".join(policy)}

    async def answer(self, _: Request) -> Response:
        """Give the page."""
        return HTMLResponse(self._content, headers=self._headers)


def _digest(inline: str) -> str:
    return f"'sha256-{b64encode(sha256(inline.encode()).digest()).decode()}'"


def _asset(request: Request) -> Response:
    name = request.path_params["name"]
    package = find_spec("fastapi_offline")  # found, but not imported
    if name not in _ASSETS or package is None or package.origin is None:
        raise HTTPException(404)
    content = (Path(package.origin).parent / "static" / name).read_bytes().replace(_LOGO, _NO_LOGO)
    return Response(content, media_type=_ASSETS[name], headers=_HEADERS | {"Cache-Control": "max-age=3600"})
