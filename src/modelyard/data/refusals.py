"""When rows stop the run: too many break the contract, none is left, or an expectation says no."""

from modelyard.data.report import DataReport
from modelyard.data.validation import Validation
from modelyard.errors import DataRejected
from modelyard.params import DataParams


def refuse_too_many(report: DataReport, params: DataParams) -> None:
    """Compare the refused rows with ``data.max_rejected``.

    Raises:
        DataRejected: there are more, or no row is left.
    """
    refused, num_read = report.refused, report.num_read
    lines = "\n".join(f"  {line}" for line in refused.reasons)
    num = refused.num_counted
    if num > params.max_rejected * num_read:
        raise DataRejected(
            f"{num} of {num_read} rows break the contract ({num / num_read:.2%}), "
            f"more than data.max_rejected {params.max_rejected:.2%}:\n{lines}",
            "Mend the source, or change the contract if it is too narrow.",
        )
    if refused.num_rows == num_read:
        raise DataRejected(
            f"none of {num_read} rows is left:\n{lines}", "Mend the source or the contract."
        )


def refuse_failed(validation: Validation) -> None:
    """Compare the accepted rows with every expectation.

    Raises:
        DataRejected: one is not met.
    """
    if validation.failed:
        lines = "\n".join(f"  {verdict}" for verdict in validation.failed)
        raise DataRejected(
            f"{len(validation.failed)} of {len(validation.verdicts)} expectations are not met:\n"
            f"{lines}",
            "Mend the source, or change the expectation in params.yaml if it asks too much.",
        )
