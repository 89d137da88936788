"""How bytes travel between ranks: one port (``port.py``), an adapter a file."""
