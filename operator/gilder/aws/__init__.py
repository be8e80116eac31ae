"""AWS at arm's length: one module per concern, each call with its IAM actions beside it."""
