"""The terms that a person accepts with each deployment."""

from __future__ import annotations

import hashlib

VERSION = "1"
TEXT = """\
Deploying a model starts engine processes on the chosen hardware and keeps them running until the \
deployment is stopped. You confirm that you may serve this model under its licence, that its use \
follows your organisation's rules, and that the cost of the hardware is accepted. The endpoint \
answers everybody who holds one of the model's API keys. Who deployed what, when and why is kept \
in the history and cannot be removed from it.
"""
SHA256 = hashlib.sha256(TEXT.encode()).hexdigest()
