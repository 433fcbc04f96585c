"""A minimal server that validates a loan: one raw route, pydantic on bytes, and a constant answer."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.contenders.constant import ANSWER
from credit_risk_model.schemas import CreditRiskModelInput


async def predict(request: Request) -> Response:
    """Validate a loan and return a constant."""
    CreditRiskModelInput.model_validate_json(await request.body())
    return Response(ANSWER.model_dump_json(), media_type="application/json")


async def ready(_: Request) -> Response:
    """Report ready at once."""
    return Response("{}", media_type="application/json")


app = Starlette(
    routes=[
        Route("/api/models/credit_risk_model/prediction", predict, methods=["POST"]),
        Route("/api/health/ready", ready),
    ]
)
