"""Serve the models of a YAML file: `python -m credit_risk_model.service`."""

import argparse
import logging
import os
import sys
from pathlib import Path

from credit_risk_model.errors import ConfigurationError, MissingPackageError


def main(arguments: list[str] | None = None, prog: str = "python -m credit_risk_model.service") -> None:
    """Parse the command line and serve until the process is asked to stop."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Serve the models of a YAML file over HTTP. SIGTERM starts a graceful shutdown: requests on open "
        "connections are still answered, and the process ends when no more arrive.",
    )
    parser.add_argument(
        "--config",
        type=Path,
        default=Path(os.environ.get("REST_CONFIG", "rest_config.yaml")),
        help="the YAML file (default: the value of REST_CONFIG, else rest_config.yaml)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="host name or address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port; 0 for any free one (default: %(default)s)")
    parser.add_argument("--uds", metavar="PATH", help="Unix domain socket to listen on instead")
    parser.add_argument("--root-path", default="", metavar="/PREFIX", help="path prefix that a proxy strips")
    parser.add_argument("--ssl-certfile", metavar="FILE", help="certificate, for TLS")
    parser.add_argument("--ssl-keyfile", metavar="FILE", help="private key of the certificate")
    parser.add_argument("--workers", type=int, default=1, help="must be 1: start more processes instead")
    try:
        serve(parser.parse_args(arguments), prog)
    except MissingPackageError as error:
        sys.exit(str(error))
    except ConfigurationError as error:
        sys.exit(_format_fault(f"The service can't start: {error}"))


def _format_fault(text: str) -> str:
    """Format a startup error as a line of the service's log, or as plain text on a terminal."""
    if sys.stderr.isatty():
        return text
    from credit_risk_model.service.logs import JsonFormatter  # noqa: PLC0415

    return JsonFormatter().format(logging.LogRecord(__package__, logging.CRITICAL, __file__, 0, text, (), None))


def serve(arguments: argparse.Namespace, prog: str) -> None:
    """Check arguments and configuration, then serve.

    Raises:
        ConfigurationError: The file or an argument is invalid, or the address can't be bound.
        MissingPackageError: The HTTP server is not installed.
    """
    if arguments.workers != 1:
        raise ConfigurationError(
            f"--workers {arguments.workers}: must be 1, since each process has its own metrics and readiness. Start "
            "more processes on other ports behind a proxy; in Kubernetes, one in each pod."
        )
    if arguments.ssl_keyfile is not None and arguments.ssl_certfile is None:
        raise ConfigurationError("--ssl-keyfile: also name the certificate (--ssl-certfile).")
    root_path = arguments.root_path.rstrip("/")
    if root_path and not root_path.startswith("/"):
        raise ConfigurationError(f"--root-path {root_path}: must begin with a slash.")
    # After the arguments are checked: these imports take a quarter of a second.
    try:
        from credit_risk_model.service.app import Application  # noqa: PLC0415
        from credit_risk_model.service.server.server import (  # noqa: PLC0415
            Server,
            bind,
            check_certificate,
            check_uvicorn,
        )
        from credit_risk_model.service.settings import read_configuration  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingPackageError.of(f"{prog} needs", error, "service") from None

    check_uvicorn()
    if arguments.ssl_certfile is not None:
        check_certificate(arguments.ssl_certfile, arguments.ssl_keyfile)
    configuration = read_configuration(arguments.config)
    listening = bind(arguments.host, arguments.port, arguments.uds)
    application = Application(configuration, root_path)
    server = Server(
        application,
        application.run_lifespan,
        configuration.service,
        [listening],
        ssl_certfile=arguments.ssl_certfile,
        ssl_keyfile=arguments.ssl_keyfile,
    )
    server.run()


if __name__ == "__main__":
    main()
