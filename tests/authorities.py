"""Whom machines believe, read once: it takes 20 ms, and there is no TLS in most of our worlds."""

import ssl

AUTHORITIES = ssl.create_default_context()
