"""Files on their way in, from the first byte until they are published."""
