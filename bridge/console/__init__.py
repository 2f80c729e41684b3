"""`bridge console`: pages for people, an HTTP API for programs.

A door without state: what it shows is what the command line shows, and what it registers the command line registers.
"""
