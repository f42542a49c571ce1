"""Bytes between wire and storage: `multipart` takes forms apart, `receive` lands them, `send` gives files out.

Each is handed a Job and moves its bytes; none decides who may.
"""
