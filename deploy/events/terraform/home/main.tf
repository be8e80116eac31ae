# The queue of events of one operator, and the rules of its home Region that fill it.
# ../forward goes into every other Region.

terraform {
  required_version = ">= 1.3"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "cluster_name" {
  description = "The operator's GILDER_CLUSTER_NAME."
  type        = string
  default     = "default"
}

variable "other_accounts" {
  description = "Ids of the other accounts that ../forward is used in: those of the access file and the management account."
  type        = set(string)
  default     = []
}

locals {
  patterns = jsondecode(file("${path.module}/../patterns.json"))
}

resource "aws_sqs_queue" "dead_letters" {
  name                      = "gilder-${var.cluster_name}-dead-letters"
  sqs_managed_sse_enabled   = true
  message_retention_seconds = 1209600
}

resource "aws_sqs_queue" "events" {
  name                    = "gilder-${var.cluster_name}-events"
  sqs_managed_sse_enabled = true
  # An event is a hint to look at once. One this old has been overtaken by a sweep.
  message_retention_seconds  = 900
  receive_wait_time_seconds  = 20
  visibility_timeout_seconds = 60
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letters.arn
    maxReceiveCount     = 5
  })
}

resource "aws_cloudwatch_event_rule" "this" {
  for_each      = local.patterns
  name          = "gilder-${var.cluster_name}-${each.key}"
  event_pattern = jsonencode(each.value)
}

resource "aws_cloudwatch_event_target" "queue" {
  for_each  = aws_cloudwatch_event_rule.this
  rule      = each.value.name
  target_id = "queue"
  arn       = aws_sqs_queue.events.arn
}

resource "aws_cloudwatch_event_permission" "may_forward" {
  for_each       = var.other_accounts
  event_bus_name = "default"
  statement_id   = "gilder-${var.cluster_name}-${each.value}"
  principal      = each.value
}

data "aws_iam_policy_document" "may_fill" {
  statement {
    sid       = "RulesMaySend"
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.events.arn]
    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }
    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [for rule in aws_cloudwatch_event_rule.this : rule.arn]
    }
  }
  statement {
    sid       = "OnlyOverTls"
    effect    = "Deny"
    actions   = ["sqs:*"]
    resources = [aws_sqs_queue.events.arn]
    principals {
      type        = "*"
      identifiers = ["*"]
    }
    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_sqs_queue_policy" "events" {
  queue_url = aws_sqs_queue.events.url
  policy    = data.aws_iam_policy_document.may_fill.json
}

output "queue_url" {
  description = "The operator's GILDER_EVENT_QUEUE_URL."
  value       = aws_sqs_queue.events.url
}

output "queue_arn" {
  description = "For the operator's IAM policy."
  value       = aws_sqs_queue.events.arn
}

output "bus_arn" {
  description = "The variable home_bus_arn of ../forward."
  value = replace(
    aws_cloudwatch_event_rule.this["calls"].arn, "/:rule/.*/", ":event-bus/default"
  )
}
