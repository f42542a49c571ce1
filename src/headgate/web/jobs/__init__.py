"""Jobs over HTTP: their JSON, their links, who may see them, their routes and events."""
