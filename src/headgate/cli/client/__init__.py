"""The commands that speak to a server: upload, export, jobs, pause, resume, terminate, watch."""
