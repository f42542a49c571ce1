"""Files over HTTP: uploaded, listed, fetched, deleted."""
