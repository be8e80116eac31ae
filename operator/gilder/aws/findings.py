"""What Inspector found in an AMI."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from gilder.aws.permissions import needs
from gilder.core.work import Scan

if TYPE_CHECKING:
    from mypy_boto3_ec2.client import EC2Client

PAGE = 1000  # MaxResults, 1000 at most


@needs("ec2:GetImageFindings")
def scan(ec2: "EC2Client", image: str, scanned_at: str) -> Scan:
    """The findings in an AMI, counted by severity; `scanned_at` is what its listing said.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_GetImageFindings.html
    """
    every: Counter[str] = Counter()
    fixable: Counter[str] = Counter()
    pages: Any = ec2.get_paginator("get_image_findings")  # type: ignore[call-overload]
    for page in pages.paginate(ImageId=image, PaginationConfig={"PageSize": PAGE}):
        for finding in page["ImageFindings"]:
            severity = str(finding.get("SeverityLabel", "untriaged")).lower()
            every[severity] += 1
            if finding.get("FixAvailable"):
                fixable[severity] += 1
    return Scan(scanned_at, dict(every), dict(fixable))
