"""Resumable uploads over HTTP: tus 1.0.0 and the draft of the IETF."""
