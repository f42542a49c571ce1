"""What every request passes before its handler: message checks, authentication, origins; and errors as problems."""
