"""Clients that mean harm, against ``headgate serve`` as it is run, and what others feel of it.

How to use it: ``await ATTACKS[name](root, scale)`` runs one attack on a server of its own and gives its `Attacked`: a
figure, the goal, and whether it was reached. `scale` is how much of it there is; 1.0 is what the soak does.

Every attack goes to 127.0.0.1 only, to a port that it opened itself. Each is bounded in count by its `scale`, and in
time by `bounded`, which ends it whatever it is at. What a bystander feels is how long ``GET /healthz`` takes on a
connection of its own each time; how long the loop stalls is measured as everywhere, in a server apart (`faults.apart`).
"""

from faults import attacks_connections, attacks_owners, attacks_work
from faults.attacking import ATTACKS, Attacked

__all__ = ["ATTACKS", "Attacked", "attacks_connections", "attacks_owners", "attacks_work"]
