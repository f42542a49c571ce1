"""How fast the bytes of a job may pass, and how fast they do: the gate, the throttles behind it, the meter."""
