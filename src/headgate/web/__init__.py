"""HTTP: authentication, routes and answers. The handlers call the rooms below, which move the bytes."""
