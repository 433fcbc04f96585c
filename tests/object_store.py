"""An S3 server on this machine."""

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer
from pyarrow.fs import FileSelector, FileType, LocalFileSystem, S3FileSystem, copy_files


class Store:
    """A bucket of an S3 server.

    Attributes:
        endpoint: Where the server listens.
    """

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._files = S3FileSystem(
            endpoint_override=endpoint, scheme="http", region="us-east-1", allow_bucket_creation=True
        )
        self._files.create_dir("bank")

    def uri(self, path: str) -> str:
        """The URI of an object."""
        return f"s3://bank/{path}?endpoint_override={self.endpoint}&scheme=http&region=us-east-1"

    def put(self, path: Path, name: str) -> str:
        """Put a file or a folder there, and give its URI."""
        copy_files(str(path), f"bank/{name}", LocalFileSystem(), self._files)
        return self.uri(name)

    def read(self, path: str) -> bytes:
        """An object's bytes."""
        return bytes(self._files.open_input_file(f"bank/{path}").read())

    def sizes(self) -> dict[str, int]:
        """The bytes of each object that can be seen."""
        found = self._files.get_file_info(FileSelector("bank", recursive=True))
        return {file.path.removeprefix("bank/"): file.size for file in found if file.type == FileType.File}

    def empty(self) -> None:
        """Delete all objects."""
        self._files.delete_dir_contents("bank")

    def is_uploading(self, path: str) -> bool:
        """Whether an upload of an object has begun and is not complete."""
        with urllib.request.urlopen(f"http://{self.endpoint}/bank?uploads", timeout=10) as answer:
            return f"<Key>{path}</Key>" in answer.read().decode()


@contextmanager
def run_store() -> Iterator[Store]:
    """Run an S3 server with a bucket, and its credentials in the environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "any")
        moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        moto.start()
        try:
            host, port = moto.get_host_and_port()
            yield Store(f"{host}:{port}")
        finally:
            moto.stop()
