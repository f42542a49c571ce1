"""What every request passes before its handler: is it a message, who sends it, from where; and how errors are told."""
