"""Uploads that go on after an interruption: one job over many requests, whatever protocol these speak."""

from headgate.resumable.append import Append, Sender
from headgate.resumable.record import Plan, Protocol, Record
from headgate.resumable.upload import Upload
from headgate.resumable.uploads import ResumableUploads

__all__ = ["Append", "Plan", "Protocol", "Record", "ResumableUploads", "Sender", "Upload"]
