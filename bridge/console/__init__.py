"""`bridge console`: pages for people. A door without state: what it shows is what the command line shows."""
