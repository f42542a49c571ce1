"""Bytes out: from a storage or a generator to the socket."""
