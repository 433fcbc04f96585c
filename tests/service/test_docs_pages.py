import re

import httpx
import pytest
from processes import Service


@pytest.fixture(scope="module", params=["/docs", "/redoc"])
def page(request: pytest.FixtureRequest, shipped: Service) -> httpx.Response:
    """A documentation page."""
    return httpx.get(shipped.address + request.param)


def test_page_loads_nothing_from_elsewhere(page: httpx.Response) -> None:
    """A page names no address but the service's own, relative, so that a prefix before it does no harm."""
    assert page.status_code == 200
    assert "//" not in page.text
    addresses = re.findall('(?:src|href)="([^"]+)"', page.text)
    assert addresses
    for address in addresses:
        asset = httpx.get(page.url.join(address))
        assert (asset.status_code, asset.headers["x-content-type-options"]) == (200, "nosniff")
        assert b"cdn.redoc" not in asset.content


def test_page_carries_security_headers(page: httpx.Response) -> None:
    """A page may run our scripts only, talk to us only, and stand in no frame."""
    policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
    assert policy.keys() > {"script-src", "style-src", "img-src"}
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert "unsafe" not in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("name", ["core.py", "..%2fcore.py", "%2e%2e/__init__.py"])
def test_other_files_are_not_given_out(name: str, shipped: Service) -> None:
    """Of the package that brings the assets nothing else can be fetched."""
    answer = httpx.get(f"{shipped.address}/docs/assets/{name}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/json"


def test_root_leads_to_the_documentation(shipped: Service) -> None:
    """Whoever asks for the address alone is sent to the page."""
    answer = httpx.get(shipped.address)
    assert (answer.status_code, answer.headers["location"]) == (307, "/docs")
