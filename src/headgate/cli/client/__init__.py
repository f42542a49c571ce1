"""The commands of a client: upload, export, files, delete, jobs, pause, resume, rate, terminate."""
