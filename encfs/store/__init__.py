"""The backing store: system calls on lower names and bytes. Knows no keys and no plaintext."""
