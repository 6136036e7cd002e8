"""How does it look in a terminal? Each module draws what one command prints, and loads no more than that takes."""
