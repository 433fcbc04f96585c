"""A load of predictions, as a process of its own so that it does not slow the observer down.

    python load.py ENDPOINTS SECONDS CONNECTIONS REUSE < body

ENDPOINTS is a file with an address (host:port) on each line, read again for every new connection, which goes to one of
them by chance: what a Service does. While it is empty no connection is made; once it is gone the load ends. REUSE is
`reuse` to send one request after the other through a connection, `fresh` to take a new one for each. Prints how many
requests were answered, by status, and how many were lost: sent, and not answered.
"""

import asyncio
import json
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from credit_risk_model.examples import EXAMPLE_LOAN

PATH = "/api/models/credit_risk_model/prediction"
LONGEST_WAIT = 30


async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> tuple[str, bool]:
    """Send a request; give the answer's status and whether the connection stays open."""
    writer.write(request)
    await writer.drain()
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), LONGEST_WAIT)).decode().lower()
    length = int(head.partition("content-length:")[2].partition("\r\n")[0])
    await asyncio.wait_for(reader.readexactly(length), LONGEST_WAIT)
    return head.split(" ")[1], "connection: close" not in head


async def client(endpoints: Path, body: bytes, reuse: bool, deadline: float, outcomes: Counter[str]) -> None:
    """Send requests until the deadline."""
    connection = "keep-alive" if reuse else "close"
    head = f"POST {PATH} HTTP/1.1\r\nHost: service\r\nContent-Type: application/json\r\nConnection: {connection}\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    while time.monotonic() < deadline:
        try:
            addresses = endpoints.read_text().split()
        except FileNotFoundError:  # the end
            return
        if not addresses:
            await asyncio.sleep(0.01)
            continue
        host, _, port = random.choice(addresses).partition(":")  # noqa: S311  # no secret
        try:
            reader, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            outcomes["refused"] += 1
            await asyncio.sleep(0.01)
            continue
        try:
            stays = True
            while stays and time.monotonic() < deadline and endpoints.exists():
                status, stays = await send(reader, writer, request)
                outcomes[status] += 1
        except (OSError, EOFError, TimeoutError) as error:
            outcomes[f"lost: {type(error).__name__}"] += 1
        finally:
            writer.close()


async def main(endpoints: str, seconds: str, connections: str, reuse: str) -> None:
    """Run the clients and print what became of their requests."""
    outcomes: Counter[str] = Counter()
    body, deadline = sys.stdin.buffer.read(), time.monotonic() + float(seconds)
    clients = [client(Path(endpoints), body, reuse == "reuse", deadline, outcomes) for _ in range(int(connections))]
    await asyncio.gather(*clients)
    sys.stdout.write(json.dumps(outcomes))


class Load:
    """Predictions that are being asked for, by a process of its own."""

    def __init__(self, endpoints: Path, seconds: float, connections: int, reuse: bool) -> None:
        self._endpoints = endpoints
        self._process = subprocess.Popen(
            [
                *(sys.executable, __file__),
                *(str(endpoints), str(seconds), str(connections), "reuse" if reuse else "fresh"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdin
        self._process.stdin.write(json.dumps(EXAMPLE_LOAN).encode())
        self._process.stdin.close()
        self._process.stdin = None

    def direct_to(self, *addresses: str) -> None:
        """Let new connections go to these addresses, as a Service does when its endpoints change."""
        following = self._endpoints.with_suffix(".following")
        following.write_text("\n".join(addresses))
        following.rename(self._endpoints)

    def end(self) -> None:
        """Let each client end after the request that it is at."""
        self._endpoints.unlink()

    def finish(self) -> dict[str, int]:
        """Wait for the end and give the number of requests by outcome."""
        output, _ = self._process.communicate(timeout=120)
        return json.loads(output)

    def stop(self) -> None:
        """End it now, if it has not ended."""
        self._process.kill()
        self._process.wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
