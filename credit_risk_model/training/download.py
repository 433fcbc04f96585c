"""Fetch Kaggle's loan.csv, whole or not at all: `python -m credit_risk_model.training.download`.

It requests the address that Kaggle shows on a data set's page under "cURL", and needs only Python. Kaggle's own client
installs some thirty packages for one file, and can't use another server. It unpacks in place, so an interrupted run
leaves half a file.

Environment: KAGGLE_API_TOKEN, or KAGGLE_USERNAME and KAGGLE_KEY, or `kaggle.json` in KAGGLE_CONFIG_DIR (`~/.kaggle`).
KAGGLE_API_ENDPOINT names another server, as in kagglehub.
"""

import argparse
import base64
import http.client
import json
import os
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from credit_risk_model.errors import ConfigurationError, CreditRiskError, DataError
from credit_risk_model.whole_file import name_whole

DATASET = "ranadeep/credit-risk-dataset"
PAGE = f"https://www.kaggle.com/datasets/{DATASET}"
LOANS = Path("loan/loan.csv")
DICTIONARY = "LCDataDictionary.xlsx"
TIMEOUT_SECONDS = 60
_CURE = "Create a new one at https://www.kaggle.com/settings, under API."
_BY_HAND = f"Or download it in the browser from {PAGE} and unpack it to data/."


def fetch(folder: Path) -> str:
    """Fetch `loan/loan.csv` and the columns' dictionary into the folder, unless the loans are there.

    Returns:
        A line for the user.

    Raises:
        ConfigurationError: Credentials are missing or unusable.
        DataError: Kaggle, the network or the disk failed. Nothing was written.
    """
    target = folder / LOANS
    try:
        if target.exists():
            return f"{target} exists already, {target.stat().st_size:,} bytes. Delete it to fetch it again."
        source, authorization = _find_credentials()
        folder.mkdir(parents=True, exist_ok=True)
        # Inside the folder, which may be on another disk: a file can only be moved in one step on the same disk.
        with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as name:
            temporary = Path(name)
            _download(temporary / "dataset.zip", source, authorization)
            _unpack(temporary / "dataset.zip", temporary)
            target.parent.mkdir(exist_ok=True)
            if (temporary / DICTIONARY).exists():
                name_whole(temporary / DICTIONARY, folder / DICTIONARY)
            name_whole(temporary / LOANS.name, target)
        return f"Fetched {target}, {target.stat().st_size:,} bytes."
    except OSError as error:
        raise DataError(
            f"{folder}/ can't be used: {error.strerror or error}. It must be a writable folder with 1 GB free."
        ) from error


def _find_credentials() -> tuple[str, str]:
    """Return the source of the credentials and the Authorization header."""
    token = os.environ.get("KAGGLE_API_TOKEN", "").strip()
    if token:
        if not (token.isascii() and token.isprintable()):
            raise ConfigurationError(f"KAGGLE_API_TOKEN is not a token. {_CURE}")
        return "token in KAGGLE_API_TOKEN", f"Bearer {token}"
    source = "KAGGLE_USERNAME and KAGGLE_KEY"
    user, key = os.environ.get("KAGGLE_USERNAME"), os.environ.get("KAGGLE_KEY")
    if not (user and key):
        file = Path(os.environ.get("KAGGLE_CONFIG_DIR") or Path.home() / ".kaggle") / "kaggle.json"
        source = str(file)
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            user, key = content["username"], content["key"]
        except FileNotFoundError as error:
            raise ConfigurationError(
                "No Kaggle credentials. Create a token at https://www.kaggle.com/settings, under API, then set "
                f"KAGGLE_API_TOKEN, or KAGGLE_USERNAME and KAGGLE_KEY, or save kaggle.json as {file}."
            ) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(f"{file} has no readable username and key. {_CURE}") from error
    return f"key in {source}", f"Basic {base64.b64encode(f'{user}:{key}'.encode()).decode()}"


def _download(path: Path, source: str, authorization: str) -> None:
    endpoint = os.environ.get("KAGGLE_API_ENDPOINT", "https://www.kaggle.com").rstrip("/")
    if not endpoint.startswith(("https://", "http://")):
        raise ConfigurationError(f"KAGGLE_API_ENDPOINT is {endpoint!r}: it must start with https:// or http://.")
    request = urllib.request.Request(f"{endpoint}/api/v1/datasets/download/{DATASET}")  # noqa: S310  # checked above
    # Kaggle redirects to a storage server, which must not get the credentials, and refuses them.
    request.add_unredirected_header("Authorization", authorization)
    received = 0
    with _ask(request, source) as answer, path.open("wb") as file:
        announced = int(answer.headers.get("Content-Length") or 0)
        while part := _read(answer, received, announced):
            received += file.write(part)
            if sys.stderr.isatty():
                sys.stderr.write(f"\r{received / 1e6:,.0f} of {announced / 1e6:,.0f} MB ")
    if sys.stderr.isatty():
        sys.stderr.write("\n")
    if received < announced:
        raise DataError(f"The download broke off after {received:,} of {announced:,} bytes. Run it again.")


def _ask(request: urllib.request.Request, source: str) -> http.client.HTTPResponse:
    refusals = {
        401: f"Kaggle refuses the {source}: wrong or expired. {_CURE}",
        403: f"Kaggle refuses this account the data set. Log in at {PAGE}, accept what it asks for, then run it again.",
        404: f"Kaggle has no data set {DATASET}. Pass a loan.csv from elsewhere: make train LOAN_DATA=...",
        429: "Kaggle got too many requests from this account. Wait some minutes, then run it again.",
    }
    try:
        answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)  # noqa: S310  # http(s): checked
    except urllib.error.HTTPError as error:
        with error:
            of_kaggle = error.url == request.full_url  # not of the storage that it redirects to
            other = f"{error.url.split('?')[0]} answered {error.code} {error.reason}. Run it again later. {_BY_HAND}"
            raise DataError(refusals.get(error.code, other) if of_kaggle else other) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        host = f"{request.type}://{request.host}"
        raise DataError(f"No connection to {host}: {reason}. Check network and proxy, then run it again.") from error
    return answer


def _read(answer: http.client.HTTPResponse, received: int, announced: int) -> bytes:
    try:
        return answer.read(1 << 20)
    except (OSError, http.client.HTTPException) as error:
        raise DataError(
            f"The download broke off after {received:,} of {announced:,} bytes ({error}). Run it again."
        ) from error


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack the two files without their folders, and check their checksums."""
    try:
        with zipfile.ZipFile(archive) as dataset:
            found = [entry for entry in dataset.namelist() if PurePosixPath(entry).name in (LOANS.name, DICTIONARY)]
            for entry in found:
                with dataset.open(entry) as packed, (folder / PurePosixPath(entry).name).open("wb") as file:
                    shutil.copyfileobj(packed, file, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # RuntimeError: needs a password
        raise DataError(f"The download is not a complete zip file ({error}). Run it again. {_BY_HAND}") from error
    loans = folder / LOANS.name
    if not loans.exists():
        raise DataError(f"The download has no {LOANS.name}. Run it again. {_BY_HAND}")
    with loans.open("rb") as file:
        if b"loan_status" not in file.readline(1 << 16):
            raise DataError(f"The downloaded {LOANS.name} has no column loan_status: it is another file. {_BY_HAND}")


def main(arguments: list[str] | None = None) -> None:
    """Fetch the loans from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m credit_risk_model.training.download", description="Fetch Kaggle's loan.csv."
    )
    parser.add_argument("--folder", type=Path, default=Path("data"), help="target folder (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        sys.stdout.write(f"{fetch(options.folder)}\n")
    except CreditRiskError as error:
        parser.exit(1, f"{error}\n")
    except KeyboardInterrupt:
        parser.exit(130, "Interrupted: nothing was kept.\n")


if __name__ == "__main__":
    main()
