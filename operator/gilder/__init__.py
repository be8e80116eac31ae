"""gilder: a Kubernetes operator for golden AMIs, their DR copies and their shares."""

__version__ = "0.1.0"
