"""The SQS queue that EventBridge fills, read by long polls."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gilder.aws.permissions import needs
from gilder.aws.sessions import Sessions

WAIT = 20  # seconds of a long poll, 20 at most
BATCH = 10  # messages of one call, 10 at most
# Seconds until messages that were received and not deleted come again, here or elsewhere.
HIDDEN = 60

_HOST = re.compile(r"https://(?:[^/]*[.])?(?:sqs|sqs-fips)[.](?P<new>[a-z0-9-]+)[.]")
_OLD_HOST = re.compile(r"https://(?P<old>[a-z0-9-]+)[.]queue[.]amazonaws[.]com")


@dataclass(frozen=True, slots=True)
class Message:
    """One message; the receipt stands for this receiving of it."""

    receipt: str
    body: str


def region_of(url: str, otherwise: str) -> str:
    """The Region in a queue's URL, also in that of a VPC endpoint.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-queue-message-identifiers.html
    """
    if found := _HOST.match(url):
        return found["new"]
    if found := _OLD_HOST.match(url):
        return found["old"]
    return otherwise


class EventQueue:
    """One queue. Its calls block."""

    def __init__(self, sessions: Sessions, url: str, *, wait: int = WAIT) -> None:
        self.url = url
        self.region = region_of(url, sessions.region)
        self._sessions = sessions
        self._wait = wait

    @needs("sqs:ReceiveMessage")
    def receive(self, *, at_once: bool = False) -> list[Message]:
        """Up to ten messages as soon as there are any; none when none came in time.

        `at_once`: what is there now; nothing is waited for.

        https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html
        """
        answer = self._client().receive_message(
            QueueUrl=self.url,
            MaxNumberOfMessages=BATCH,
            WaitTimeSeconds=0 if at_once else self._wait,
            VisibilityTimeout=HIDDEN,
        )
        return [Message(m["ReceiptHandle"], m.get("Body", "")) for m in answer.get("Messages", [])]

    @needs("sqs:DeleteMessage")
    def delete(self, messages: Sequence[Message]) -> None:
        """Take messages out for good. One that stays comes again, which does no harm."""
        for start in range(0, len(messages), BATCH):
            entries = [
                {"Id": str(n), "ReceiptHandle": m.receipt}
                for n, m in enumerate(messages[start : start + BATCH])
            ]
            self._client().delete_message_batch(QueueUrl=self.url, Entries=entries)

    def _client(self) -> Any:
        return self._sessions.sqs(self.region)
