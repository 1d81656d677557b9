"""Measurements of cloakfs: see README.md beside this file."""
