"""Bytes in: from the socket into a stage."""
