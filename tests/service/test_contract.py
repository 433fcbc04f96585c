import subprocess
import sys
from pathlib import Path

import yaml
from conftest import CONFIGURATION, ROOT


def test_committed_contract_is_the_generated_one(tmp_path: Path) -> None:
    """service_contract.yaml is what generate_openapi writes for the configuration, byte for byte."""
    generated = tmp_path / "contract.yaml"
    command = [
        str(Path(sys.executable).with_name("generate_openapi")),
        f"--configuration_file={CONFIGURATION.relative_to(ROOT)}",
        f"--output_file={generated}",
    ]
    subprocess.run(command, check=True, cwd=ROOT)
    committed = (ROOT / "service_contract.yaml").read_text()
    assert committed == generated.read_text(), "Run `make contract`."


def test_contract_describes_the_prediction() -> None:
    """The contract holds the prediction with its input, its answer and a field's description and bounds."""
    contract = yaml.safe_load((ROOT / "service_contract.yaml").read_text())
    prediction = contract["paths"]["/api/models/credit_risk_model/prediction"]["post"]
    body = prediction["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    answer = prediction["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
    assert (body, answer) == ("#/components/schemas/CreditRiskModelInput", "#/components/schemas/CreditRiskModelOutput")
    amount = contract["components"]["schemas"]["CreditRiskModelInput"]["properties"]["loan_amount"]
    assert amount == {
        "type": "integer",
        "minimum": 500,
        "maximum": 35000,
        "title": "Loan Amount",
        "description": "The listed amount of the loan applied for by the borrower.",
    }
