import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT
from playwright.sync_api import sync_playwright
from processes import find_tool
from test_readme import commands_of

from credit_risk_model.features import CONTRACT_FEATURES
from credit_risk_model.schemas import CreditRiskModelInput
from credit_risk_model.service.settings import ServiceSettings, read_configuration
from credit_risk_model.tables.columns import INSTALLMENT, STATUS
from credit_risk_model.training import loans

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
REFERENCE: dict[str, Any] = runpy.run_path(str(DOCS / "reference.py"))
MAP = (DOCS / "where-things-live.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", REFERENCE["WRITERS"])
def test_reference_is_written_from_the_code(name: str) -> None:
    """Each generated page is what docs/reference.py writes, to the last byte."""
    written = REFERENCE["WRITERS"][name]()
    assert (DOCS / "reference" / name).read_text(encoding="utf-8") == written, "Run `make reference`."


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it, in which every link and every page of the navigation is there."""
    folder = tmp_path_factory.mktemp("site")
    (options,) = re.findall(r"bin/mkdocs (build .*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    command = [sys.executable, "-m", "mkdocs", *options.split(), "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--strict" in command
    assert "--quiet" not in command  # it would hide the warnings from --strict
    return folder


def test_site_asks_nothing_of_the_internet(site: Path) -> None:
    """No page or style sheet loads a script, a style, a font or a picture from elsewhere."""
    pages = [*site.rglob("*.html")]
    assert len(pages) > len(PAGES)
    for page in (*pages, *site.rglob("*.css")):
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|link|iframe)[^>]*?(?:src|href)=\"?([^\" >]+)", text)
        loaded += re.findall(r"url\([\"']?([^\"')]+)", text)
        assert [each for each in loaded if re.match(r"(https?:)?//", each)] == [], page.name


def test_site_is_searched_from_disk(site: Path) -> None:
    """Opened from disk, with no network at all, the pages find a word."""
    chromium = find_tool("chromium", "chromium-browser", "google-chrome")
    with sync_playwright() as playwright:
        arguments = ["--host-resolver-rules=MAP * ~NOTFOUND"]
        page = playwright.chromium.launch(executable_path=chromium, args=arguments).new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "how-to" / "train.html").as_uri())
        page.locator("input.md-search__input").click()
        page.keyboard.type("ready means ready")
        # The results change while the words are typed.
        first = ".md-search-result__item:first-child > a.md-search-result__link[href*='ready.html']"
        page.wait_for_selector(first, timeout=60_000)
        assert all(url.startswith("file:") for url in asked)


def rows_of(heading: str) -> list[list[str]]:
    """The rows of the table below a heading of the page "Where things live"."""
    section = MAP.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize(("thing", "path", "words"), rows_of("Where a thing is set"))
def test_thing_lives_where_the_page_says(thing: str, path: str, words: str) -> None:
    """The file that the page names for a thing is there, and holds the words beside it."""
    assert words in (ROOT / path).read_text(encoding="utf-8"), thing


def test_fields_settings_and_metrics_live_in_their_files_alone() -> None:
    """Each field and setting stands in the page's file and no other; each metric's name in one of its two files."""
    places = {thing.partition(":")[0]: ROOT / path for thing, path, _ in rows_of("Where a thing is set")}
    modules = {path: path.read_text(encoding="utf-8") for path in (ROOT / "credit_risk_model").rglob("*.py")}
    for thing, model in (("a field of a loan", CreditRiskModelInput), ("a setting of the service", ServiceSettings)):
        for name, field in model.model_fields.items():
            assert field.description
            first = field.description[:30]
            assert [path for path, text in modules.items() if first in text] == [places[thing]], name
    named = re.findall(r"^\| `(credit_risk_\w+)` ", REFERENCE["write_metrics"](), re.MULTILINE)
    text = modules[places["a metric"]] + modules[places["a metric of drift"]]
    assert len(named) > 25
    for name in named:
        assert f'"{name}"' in text or f'"{re.sub("_(total|info)$", "", name)}"' in text


def test_no_folder_is_missing_on_the_map() -> None:
    """The page has every folder at the top and every one of the package, and no other."""
    done = subprocess.run([find_tool("git"), "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    folders = {str(parent) for name in done.stdout.split() for parent in Path(name).parents} - {"."}
    kept = {folder for folder in folders if "/" not in folder or folder.startswith("credit_risk_model/")}
    assert {folder for folder, _ in rows_of("What is in which folder")} == kept


def test_commands_of_the_pages_can_be_given() -> None:
    """Each `make` of a page is known to the Makefile, with its settings; each module of the package has its options."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    known = (DOCS / "reference" / "commands.md").read_text(encoding="utf-8")
    found = {command for page in PAGES for command in commands_of(page.read_text(encoding="utf-8"))}
    tried = 0
    for command in found:
        words = [word for word in shlex.split(command) if not word.startswith(("LOAN_DATA=", "|", "\n"))]
        words[0] = words[0].removeprefix(".venv/training/bin/")
        if words[0] == "make":
            for word in words[1:]:
                target = rf"^{word.partition('=')[0]} [?:]=" if "=" in word else rf"^([\w-]+ )*{word}( [\w-]+)*:"
                assert re.search(target, makefile, re.MULTILINE), command
            tried += 1
        elif words[:2] == ["python", "-m"] and words[2].startswith("credit_risk_model"):
            program = " ".join(words[1:3] if words[2] != "credit_risk_model.monitoring" else words[1:4])
            text = known.partition(f"usage: python {program} [")[2].partition("```")[0]
            assert text, command
            for option in (word for word in words if word.startswith("--")):
                assert option in text, command
            tried += 1
    assert tried > 15


@pytest.mark.parametrize("page", ["another-archive.md", "cut-off.md", "api-keys.md"])
def test_settings_of_the_pages_are_settings(page: str, tmp_path: Path) -> None:
    """The YAML that a page shows is a configuration that the service takes, where it stands in one."""
    blocks = re.findall(r"^( *)```yaml\n(.*?)^ *```", (DOCS / "how-to" / page).read_text(), re.MULTILINE | re.DOTALL)
    tried = 0
    for indent, block in blocks:
        shown = yaml.safe_load("\n".join(line.removeprefix(indent) for line in block.splitlines()))
        configuration = yaml.safe_load((ROOT / "configuration" / "rest_configuration.yaml").read_text())
        if "models" in shown:
            configuration |= shown
        elif "configuration" in shown:
            configuration["models"][0] |= shown
        elif "api_keys" in shown:
            configuration["service"] |= shown
        else:
            continue
        path = tmp_path / "configuration.yaml"
        path.write_text(yaml.safe_dump(configuration))
        read_configuration(path)
        tried += 1
    assert tried


def test_statuses_of_the_page_are_those_of_the_training() -> None:
    """The page on loan books has each status of the training with its label, and every column that must be there."""
    page = (DOCS / "how-to" / "another-loan-book.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*`) \| (safe|risky) \|$", page, re.MULTILINE)
    labels = {status: label for statuses, label in rows for status in re.findall("`(.*?)`", statuses)}
    assert labels == dict.fromkeys(loans.SAFE_STATUSES, "safe") | dict.fromkeys(loans.RISKY_STATUSES, "risky")
    fields = (DOCS / "reference" / "fields.md").read_text(encoding="utf-8")
    needed = [*(feature.column for feature in CONTRACT_FEATURES if feature.column), INSTALLMENT, STATUS]
    assert all(f"`{column}`" in page + fields for column in needed)


def test_archive_on_a_volume_is_mounted_by_the_patch_of_the_page(tmp_path: Path) -> None:
    """The page's patch of an overlay mounts the volume where the page's configuration names the archive."""
    kubectl = find_tool("kubectl", packaged=False)
    page = (DOCS / "how-to" / "another-archive.md").read_text(encoding="utf-8")
    blocks = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)]
    (patches,) = (block["patches"] for block in blocks if "patches" in block)
    for folder in ("kubernetes", "configuration"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    overlay = tmp_path / "overlays" / "own"
    overlay.mkdir(parents=True)
    text = yaml.safe_dump({"resources": ["../../kubernetes"], "patches": patches})
    (overlay / "kustomization.yaml").write_text(text)
    done = subprocess.run([kubectl, "kustomize", str(overlay)], capture_output=True, text=True, check=True)
    (pod,) = (
        item["spec"]["template"]["spec"] for item in yaml.safe_load_all(done.stdout) if item["kind"] == "Deployment"
    )
    (container,) = pod["containers"]
    (mount,) = (mount for mount in container["volumeMounts"] if mount["name"] == "models")
    assert (mount["mountPath"], mount["readOnly"]) == (str(Path(blocks[0]["configuration"]["archive"]).parent), True)
    assert [volume for volume in pod["volumes"] if volume["name"] == "models"]


def test_page_on_http_has_every_path_and_status() -> None:
    """The page's tables have the contract's paths and the statuses of refused requests, and no others."""
    page = (DOCS / "reference" / "http.md").read_text(encoding="utf-8")
    contract = yaml.safe_load((ROOT / "service_contract.yaml").read_text())["paths"]
    rows = re.findall(r"^\| (`(?:GET|POST) [^|]*) \|", page, re.MULTILINE)
    paths = {path for row in rows for path in re.findall("/[a-z/_.]+", row)}
    served = {path.replace("{model_qualified_name}", "credit_risk_model") for path in contract} - {"/"}
    assert paths == served | {"/metrics", "/docs", "/redoc", "/openapi.json"}
    bounds = (DOCS / "bounds.md").read_text(encoding="utf-8").partition("## Why a request was refused")[2]
    rows = re.findall(r"^\| `\w+` \| ([\d, ]+) \|", bounds, re.MULTILINE)
    refused = {status for row in rows for status in row.split(", ")}
    errors = page.partition("## Errors")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([\d, ]+) \|", errors, re.MULTILINE)
    assert {status for row in rows for status in row.split(", ")} == refused


def test_figures_of_the_service_are_the_measured_ones() -> None:
    """The table of the page on performance has the medians that `make bench` has written, rounded."""

    def rows(path: Path) -> list[list[float]]:
        cells = re.findall(
            r"^\| [a-z][^|]*((?: \| [\d.,]+(?: \([^|]*\))?){6}) \|$", path.read_text("utf-8"), re.MULTILINE
        )
        return [[float(re.sub(r" \(.*|,", "", cell)) for cell in row.split(" | ")[1:]] for row in cells]

    shown, measured = rows(DOCS / "performance.md"), rows(ROOT / "benchmarks" / "results" / "serving.md")
    assert len(shown) == 5
    for figures in shown:
        assert [row for row in measured if row == pytest.approx(figures, rel=0.02)], figures
