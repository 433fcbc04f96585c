"""The OpenAPI document of the service, complete before any model is loaded.

The framework's document has a prediction only once its model is loaded, and lacks the service's own error responses,
statuses and headers. This one is made from the configuration, the models' classes and the bounds of their archives, so
no archive needs to be loaded. `python -m credit_risk_model.service.openapi` writes it to a file.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from ml_base import MLModel
from rest_model_service.configuration import Model
from rest_model_service.helpers import load_type
from rest_model_service.routes import router
from rest_model_service.schemas import Error
from starlette.responses import JSONResponse, Response

from credit_risk_model import archive as archives
from credit_risk_model.contract import SHIPPED, Contract
from credit_risk_model.errors import ConfigurationError, ModelArchiveError
from credit_risk_model.prediction.model import ArchiveModel
from credit_risk_model.service.api_keys import SECURITY_SCHEMES
from credit_risk_model.service.headers import MAX_REFERENCE
from credit_risk_model.service.metadata import ModelWithArchiveMetadata
from credit_risk_model.service.routes import group_of
from credit_risk_model.service.settings import Configuration, configuration_path, read_configuration

_INTRODUCTION = """\
**Risky** means charged off, in default, or 16 days late or more, as the loan stands on the day of the request. All
other loans are safe, repaid ones included. The service does not forecast what will become of a loan. Without
`instalments_due` the model can't tell a young loan from one that stopped paying, and the response has a caution.

A prediction changes nothing, so a request can be repeated.

Every error except the 503 of a probe has the body `{"type": ..., "messages": [...]}`. An unknown path gets a 404, a
method that the path does not allow a 405. A URL that is too long gets a 414, headers that are too large a 431, invalid
HTTP a 400, a transfer coding other than chunked a 501. Every response has a request id in `X-Request-ID`. It is the id
of the request if that is 1 to 64 letters, digits, `.`, `_` or `-`, otherwise a new one."""

_HEADERS = {
    "X-Request-ID": {
        "description": "Id of the request, which the service's log also has.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    },
    "X-Model-Version": {
        "description": "Version of the archive that made the prediction.",
        "schema": {"type": "string"},
    },
    "X-Model-Digest": {
        "description": "First 12 digits of the archive's SHA-256. Left out if the model has no archive.",
        "schema": {"type": "string", "pattern": "^[0-9a-f]{12}$"},
    },
    "Retry-After": {
        "description": "Seconds to wait before the next attempt.",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
    "WWW-Authenticate": {"description": "How to send an API key.", "schema": {"type": "string"}},
    "Location": {"description": "Where the documentation is.", "schema": {"type": "string"}},
}

_REFERENCE = {
    "name": "X-Decision-Reference",
    "in": "header",
    "required": False,
    "description": "Your reference for this decision in the decision log. A batch adds /0, /1, ... for each loan.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:/-]+$", "maxLength": MAX_REFERENCE},
}

_ContractOf = Callable[[str, object], Contract]
"""Returns the contract of a model, by its name and by its archive as configured."""

_Responses = dict[int | str, dict[str, Any]]


def _describe_error(description: str, *headers: str, example: tuple[str, str] | None = None) -> dict[str, Any]:
    """Describe an error response; the example is its type and message."""
    answer: dict[str, Any] = {"model": Error, "description": description, "headers": _headers(*headers)}
    if example is not None:
        kind, message = example
        answer["content"] = {"application/json": {"example": {"type": kind, "messages": [message]}}}
    return answer


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


# FastAPI adds a 422 wherever none is described; this placeholder is removed again.
_NO_422: _Responses = {422: {}}
_NOT_LOADED = "The models are not loaded."
_FAULT: _Responses = {
    500: _describe_error(
        "Internal error. The service's log has the details under the id in the message.",
        example=("ServiceError", "Internal error 4b1d0c8e5f2a7d93. The service's log says more."),
    )
}
_PREDICTION_RESPONSES: _Responses = {
    200: {"description": "The prediction.", "headers": _headers("X-Model-Version", "X-Model-Digest")},
    400: _describe_error(
        "The body is not JSON, or violates the schema. Each invalid field has a message.",
        example=(
            "ValidationError",
            "Field 'body, term' has error 'enum', Input should be ' 36 months' or ' 60 months'.",
        ),
    ),
    408: _describe_error(
        "The body did not arrive in time.", example=("RequestTimeout", "The body did not arrive in time.")
    ),
    413: _describe_error("The body is too large.", example=("RequestTooLarge", "The body is larger than 65536 bytes.")),
    415: _describe_error(
        "The headers declare a body other than JSON, or a compressed one.",
        example=("UnsupportedMediaType", "Send the loan as JSON: application/json."),
    ),
    **_FAULT,
    503: _describe_error(
        f"{_NOT_LOADED[:-1]}, or the service is overloaded.",
        "Retry-After",
        example=("ServiceNotReady", "The models are not loaded."),
    ),
}
_NO_KEY = {
    "description": "The API key is missing or unknown.",
    "headers": _headers("WWW-Authenticate"),
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}
# The actual responses of the framework's routes.
_RESPONSES_BY_PATH: dict[str, _Responses] = {
    "/": {307: {"description": "Redirect to the documentation.", "headers": _headers("Location")}},
    "/api/health": {200: {"description": "Healthy."}, 503: {"description": "A model could not be loaded."}},
    "/api/health/ready": {
        200: {"description": "Ready."},
        503: {"description": "The models are not loaded yet or can't be loaded, or the service is shutting down."},
    },
    "/api/health/startup": {200: {"description": "Started."}, 503: {"description": "The models are being loaded."}},
    "/api/models": {200: {"description": "The loaded models."}, **_FAULT},
    "/api/models/{model_qualified_name}/metadata": {
        200: {"description": "The model's metadata.", "model": ModelWithArchiveMetadata},
        404: _describe_error("There is no such model.", example=("NotFound", "There is no such model.")),
        **_FAULT,
        503: _describe_error(_NOT_LOADED, "Retry-After"),
    },
}


def document(
    configuration: Configuration, root_path: str = "", loaded: Mapping[str, Contract] | None = None
) -> dict[str, Any]:
    """Return the OpenAPI document of a configuration, without loading its models.

    Args:
        configuration: The validated YAML file.
        root_path: Path prefix that a proxy strips.
        loaded: Contracts of loaded models by name; those of other models are read from their archives.
    """

    def contract_of(name: str, archive: object) -> Contract:
        return loaded[name] if loaded is not None and name in loaded else _read_contract(archive)

    models = unloaded_models(configuration, contract_of)
    predictions = [_prediction(model) for model, has_endpoint in models if has_endpoint]
    contract = get_openapi(
        title=configuration.service_title,
        version=configuration.version,
        description=f"{configuration.description}\n\n{_INTRODUCTION}",
        servers=[{"url": root_path}] if root_path else None,
        routes=[*predictions, *(_describe_route(route) for route in router.routes if isinstance(route, APIRoute))],
    )
    if configuration.service.api_keys is not None:
        contract["components"]["securitySchemes"] = SECURITY_SCHEMES
        for path, operations in contract["paths"].items():
            if group_of(path) in configuration.service.api_keys.protect:
                for operation in operations.values():
                    operation["security"] = [{name: []} for name in SECURITY_SCHEMES]
                    operation["responses"]["401"] = _NO_KEY
    if configuration.service.decisions is not None:
        for path, operations in contract["paths"].items():
            if path.endswith("/prediction"):
                operations["post"]["parameters"] = [_REFERENCE]
    for operation in (operation for path in contract["paths"].values() for operation in path.values()):
        del operation["responses"]["422"]
        for response in operation["responses"].values():
            response["headers"] = _headers("X-Request-ID") | response.get("headers", {})
    (name_of_model,) = contract["paths"]["/api/models/{model_qualified_name}/metadata"]["get"]["parameters"]
    name_of_model["schema"]["enum"] = [model.qualified_name for model, _ in models]
    contract["components"]["headers"] = _HEADERS
    return contract


def unloaded_models(
    configuration: Configuration, contract_of: _ContractOf = lambda name, archive: SHIPPED
) -> list[tuple[MLModel, bool]]:
    """Create the models without loading their archives, each with whether it has an endpoint.

    Args:
        configuration: The validated YAML file.
        contract_of: Returns a model's contract, if the bounds matter.

    Raises:
        ConfigurationError: Two models have the same name, or a name is invalid.
    """
    models = [(_make_unloaded_model(model, contract_of), model.create_endpoint) for model in configuration.models]
    names = [model.qualified_name for model, _ in models]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(f"models: two are named {name}. Set `model_name` in the configuration of one.")
    return models


def _make_unloaded_model(model: Model, contract_of: _ContractOf) -> MLModel:
    """Create a model with its decorators, but without its archive, which is enough for its names and schemas.

    Names and schemas are attributes of ml_base's classes, or properties that return constants. An archive may have
    wider bounds than the class.
    """
    made = _instantiate(model.class_path)
    if isinstance(made, ArchiveModel):
        settings = model.configuration or {}
        if (name := settings.get("model_name")) is not None:
            made.rename(name)
        made.keep_to(contract_of(made.qualified_name, settings.get("archive")))
    for decorator in model.decorators or ():
        made = _instantiate(decorator.class_path).set_model(made)
    return made


def _read_contract(archive: object) -> Contract:
    """Return the contract of a configured archive; the shipped one if the archive can't be read."""
    try:
        return archives.read_contract(archives.newest() if archive is None else Path(str(archive)))
    except ModelArchiveError:
        return SHIPPED


def _instantiate(class_path: str) -> Any:
    made_from = load_type(class_path)
    return made_from.__new__(made_from)


def _prediction(model: MLModel) -> APIRoute:
    def predict(data: Any) -> None:
        """Stand in for the endpoint; only the signature is used."""

    predict.__annotations__["data"] = model.input_schema
    return APIRoute(
        f"/api/models/{model.qualified_name}/prediction",
        predict,
        methods=["POST"],
        summary=model.display_name,
        description=model.description,
        operation_id=f"{model.qualified_name}_prediction",
        tags=["predictions"],
        response_model=model.output_schema,
        responses=_PREDICTION_RESPONSES | _NO_422,
    )


def _describe_route(route: APIRoute) -> APIRoute:
    """Return a route of the framework with its actual responses."""
    documented = _RESPONSES_BY_PATH[route.path]
    answered = APIRoute(
        route.path,
        route.endpoint,
        methods=route.methods,
        summary=route.description.partition("\n")[0].rstrip("."),
        operation_id=route.name,
        status_code=min(map(int, documented)),
        tags=["health" if "health" in route.path else "models"],
        response_model=documented.get(200, {}).get("model", route.response_model),
        response_class=Response if route.path == "/" else JSONResponse,
        responses={status: route.responses.get(status, {}) | answer for status, answer in documented.items()} | _NO_422,
    )
    answered.description = ""  # the framework's description of statuses is wrong during a drain
    return answered


def write(path: Path) -> None:
    """Write the OpenAPI document of the configuration that `REST_CONFIG` names."""
    configuration = read_configuration(configuration_path())
    path.write_text(yaml.safe_dump(document(configuration), sort_keys=False, allow_unicode=True, width=120))


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="Write the service's OpenAPI document.")
    arguments.add_argument("--output", type=Path, default=Path("service_contract.yaml"), help="file to write")
    try:
        write(arguments.parse_args().output)
    except ConfigurationError as error:
        sys.exit(f"The contract can't be written: {error}")
