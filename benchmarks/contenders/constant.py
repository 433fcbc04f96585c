"""Lower bounds of the cost: endpoints that validate a loan and predict nothing."""

from fastapi import FastAPI
from ml_base import MLModel

from credit_risk_model.schemas import CreditRisk, CreditRiskModelInput, CreditRiskModelOutput

ANSWER = CreditRiskModelOutput(credit_risk=CreditRisk.SAFE, risk_probability=0.25, cautions=())


class ConstantModel(MLModel):
    """A model without cost, to measure the framework's own."""

    display_name = "Constant"
    qualified_name = "credit_risk_model"
    description = "Always the same answer"
    version = "0"
    input_schema = CreditRiskModelInput
    output_schema = CreditRiskModelOutput

    def __init__(self) -> None:
        """Load nothing."""

    def predict(self, data: CreditRiskModelInput) -> CreditRiskModelOutput:
        """Predict nothing."""
        return ANSWER


app = FastAPI()


@app.post("/api/models/credit_risk_model/prediction")
async def predict(data: CreditRiskModelInput) -> CreditRiskModelOutput:
    """Validate a loan and return a constant, like a hand-written FastAPI endpoint."""
    return ANSWER


@app.get("/api/health/ready")
async def ready() -> dict[str, str]:
    """Report ready at once."""
    return {"readiness_status": "ACCEPTING_TRAFFIC"}
