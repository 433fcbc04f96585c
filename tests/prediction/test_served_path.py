import subprocess
import sys
from pathlib import Path

NOT_SERVED = {"numpy", "pandas", "pyarrow", "scipy", "sklearn", "lightgbm", "tqdm"}


def test_reasons_and_batches_need_no_package_of_arrays(archive_path: Path) -> None:
    """A process that has explained a loan and answered a batch has imported nothing but what a single loan needs."""
    program = f"""
import sys
from credit_risk_model.prediction.batch import CreditRiskBatch
from credit_risk_model.prediction.explanation import CreditRiskExplanation
from credit_risk_model.examples import EXAMPLE_LOAN
for model, request in (
    (CreditRiskBatch(archive={str(archive_path)!r}), {{"loans": [EXAMPLE_LOAN] * 1000}}),
    (CreditRiskExplanation(archive={str(archive_path)!r}), EXAMPLE_LOAN),
):
    model.predict(model.input_schema.model_validate(request))
print(*sorted(set(sys.modules) & {NOT_SERVED!r}))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.split() == []
