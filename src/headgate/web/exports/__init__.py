"""Exports over HTTP: whole, in ranges, several as a zip, generated."""
