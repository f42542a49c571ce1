"""HTTP: who asks, what for, and how it is answered. Only what moves bytes is passed on to the rooms below."""
