"""Bytes between wire and storage: `inbound` receives uploads, `outbound` sends exports.

Each is handed a Job and moves its bytes; none decides who may.
"""
