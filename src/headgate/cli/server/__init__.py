"""``headgate serve`` and ``headgate token``."""
