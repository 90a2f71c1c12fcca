"""What happened since the last status, counted once, whatever is decided then. Nothing here knows what comes of it."""
