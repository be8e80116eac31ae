# Forwards the events of one Region of one account to the bus of the operator's Region. Use once per
# Region that has AMIs and account that the operator acts in, with a provider of both, but not where
# ../home is; for lists of an organization also in us-east-1 of its management account.

terraform {
  required_version = ">= 1.3"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "home_bus_arn" {
  description = "The output bus_arn of ../home."
  type        = string
}

variable "cluster_name" {
  description = "The operator's GILDER_CLUSTER_NAME."
  type        = string
  default     = "default"
}

locals {
  patterns = jsondecode(file("${path.module}/../patterns.json"))
}

data "aws_caller_identity" "current" {}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.current.account_id]
    }
  }
}

data "aws_iam_policy_document" "forward" {
  statement {
    actions   = ["events:PutEvents"]
    resources = [var.home_bus_arn]
  }
}

resource "aws_iam_role" "forwarder" {
  name_prefix        = "gilder-events-"
  assume_role_policy = data.aws_iam_policy_document.trust.json
}

resource "aws_iam_role_policy" "forward" {
  name   = "forward"
  role   = aws_iam_role.forwarder.id
  policy = data.aws_iam_policy_document.forward.json
}

resource "aws_cloudwatch_event_rule" "this" {
  for_each      = local.patterns
  name          = "gilder-${var.cluster_name}-${each.key}"
  event_pattern = jsonencode(each.value)
}

resource "aws_cloudwatch_event_target" "home" {
  for_each  = aws_cloudwatch_event_rule.this
  rule      = each.value.name
  target_id = "home"
  arn       = var.home_bus_arn
  role_arn  = aws_iam_role.forwarder.arn
}
