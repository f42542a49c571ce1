"""The directories of a local storage, the threads that may wait for them, and how congested the disk is."""
