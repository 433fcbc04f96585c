import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, sync_playwright
from processes import Service, find_tool, process

from credit_risk_model.examples import EXAMPLE_LOAN

NGINX = """
user root;
daemon off;
pid {folder}/pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder};
    proxy_temp_path {folder};
    fastcgi_temp_path {folder};
    uwsgi_temp_path {folder};
    scgi_temp_path {folder};
    server {{
        listen 127.0.0.1:{port};
        location /credit/ {{
            proxy_pass {address}/;
            proxy_set_header Host $http_host;
        }}
    }}
}}
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium without a network: no name is resolved, so that only the service's address can be reached."""
    found = find_tool("chromium", "chromium-browser", "google-chrome")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=found, args=["--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"]
        )
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser, shipped: Service) -> Iterator[Page]:
    """A new page of the service's."""
    with open_page(browser, shipped.address) as page:
        yield page


@pytest.fixture
def ingress(start_service: Callable[..., Service], archive_path: Path, tmp_path: Path) -> Iterator[str]:
    """The address of a real nginx that takes the prefix `/credit` away and asks a service that knows of it."""
    program = find_tool("nginx")
    service = start_service("--root-path", "/credit", archive=str(archive_path))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "conf").write_text(NGINX.format(folder=tmp_path, port=port, address=service.address))
    with process([program, "-p", tmp_path, "-c", tmp_path / "conf", "-e", tmp_path / "errors"], tmp_path):
        service.wait_for("/api/health/ready")
        yield f"http://127.0.0.1:{port}"


@contextmanager
def open_page(browser: Browser, address: str) -> Iterator[Page]:
    """Open a page that may neither ask another address for anything nor complain."""
    page = browser.new_page(base_url=address, viewport={"width": 900, "height": 1000})
    requests: list[str] = []
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    yield page
    page.close()
    assert complaints == []
    assert requests
    assert not [url for url in requests if not url.startswith((f"{address}/", "data:"))]


def send_example(page: Page, model: str) -> Locator:
    """Expand a model's prediction, try it out with the example as it stands, and give the operation with its answer."""
    operation = page.locator(f"#operations-predictions-{model}_prediction")
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_role("button", name="Execute").click()
    operation.locator(".live-responses-table").wait_for()
    return operation


@pytest.mark.parametrize("model", ["credit_risk_model", "credit_risk_explanation", "credit_risk_batch"])
def test_example_is_answered_from_the_page(model: str, page: Page) -> None:
    """On /docs a prediction's example can be sent as it stands, and its answer is shown."""
    page.goto("/docs")
    answer = send_example(page, model).locator(".live-responses-table")
    assert answer.locator("tbody td.response-col_status").inner_text().strip() == "200"
    assert '"credit_risk": "risky"' in answer.inner_text()


def test_example_is_answered_behind_a_prefix(browser: Browser, ingress: str) -> None:
    """Behind a real nginx that strips a prefix, pages, their links and what they send stay within the prefix."""
    assert httpx.get(f"{ingress}/credit/").headers["location"] == "/credit/docs"
    with open_page(browser, f"{ingress}/credit") as page:
        page.goto(f"{ingress}/credit/docs")
        answer = send_example(page, "credit_risk_model")
        assert answer.locator(".live-responses-table tbody td.response-col_status").inner_text().strip() == "200"
        asked = answer.locator(".request-url").inner_text()
        assert f"{ingress}/credit/api/models/credit_risk_model/prediction" in asked


def test_page_shows_the_example_loan(page: Page) -> None:
    """The loan that /docs offers is the contract's example; SCREENSHOT names a file to keep the page's picture in."""
    page.goto("/docs")
    operation = send_example(page, "credit_risk_model")
    assert json.loads(operation.locator("textarea").input_value()) == EXAMPLE_LOAN
    if picture := os.environ.get("SCREENSHOT"):
        keep_picture(page, operation, Path(picture))


def keep_picture(page: Page, operation: Locator, path: Path) -> None:
    """Keep the operation's picture from its name to its answer, without the command line between."""
    operation.locator(".curl-command, .request-url").evaluate_all("parts => parts.forEach(part => part.remove())")
    top = operation.bounding_box()
    answer = operation.locator(".live-responses-table .highlight-code").first.bounding_box()
    assert top
    assert answer
    clip = {key: top[key] for key in ("x", "y", "width")} | {"height": answer["y"] + answer["height"] + 16 - top["y"]}
    page.screenshot(path=path, clip=clip, full_page=True)  # type: ignore[arg-type]


def test_reference_is_drawn(page: Page) -> None:
    """/redoc shows each prediction with the loan's fields and their bounds."""
    page.goto("/redoc")
    for path in ("credit_risk_model", "credit_risk_explanation", "credit_risk_batch"):
        page.get_by_text(f"/api/models/{path}/prediction").first.wait_for()
    amount = page.locator("tr", has_text="loan_amount").first
    assert "[ 500 .. 35000 ]" in amount.inner_text()
