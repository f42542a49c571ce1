"""How received files get their names: all of them or none, durably."""
