"""Headers to values and back, without I/O and without aiohttp."""
