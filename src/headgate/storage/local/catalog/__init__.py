"""Published files: opened, listed, deleted, counted."""
