"""Drawing: numbers in, geometry out. Nothing here reads, writes or knows of a request."""
