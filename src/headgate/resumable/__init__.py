"""Uploads that go on after an interruption: one job over many requests, whatever protocol these speak."""

from headgate.resumable.append import Append, Sender
from headgate.resumable.manager import ResumableUploads
from headgate.resumable.record import NewUpload, Protocol, Record
from headgate.resumable.upload import Upload

__all__ = ["Append", "NewUpload", "Protocol", "Record", "ResumableUploads", "Sender", "Upload"]
