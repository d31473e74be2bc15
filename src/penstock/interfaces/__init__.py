"""The only room that knows HTTP, HTML and argv."""
