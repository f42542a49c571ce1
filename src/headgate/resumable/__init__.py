"""Uploads that go on after an interruption: one job over many requests, whatever protocol these speak."""

from headgate.resumable.record import Plan, Protocol, Record
from headgate.resumable.upload import Append, Sender, Upload
from headgate.resumable.uploads import ResumableUploads

__all__ = ["Append", "Plan", "Protocol", "Record", "ResumableUploads", "Sender", "Upload"]
