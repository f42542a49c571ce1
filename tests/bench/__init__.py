"""How fast headgate is, beside what else there is and beside the least that the work can cost.

``make bench`` runs everything, in about 15 minutes on two processors, and prints a table with each goal;
``make bench ONLY="put stored"`` runs a part. Rules of this room:

- A is never compared with yesterday's B: all that are compared do the same work in turns, in one run, on the same file
  system, the server on the first processor and its client on the last. Medians count, and their spread is told.
- What a server costs is its processes' CPU time, all threads included, until it is idle again.
- A yardstick is used as its own documentation says, with its best settings where those are known.
- What cannot be had on this machine is left out, by name.
"""
