"""What this host writes down for people: registers that only grow (FORMAT.md section 17).

Owns: their file format and what stands in each. Must not know: volumes, the terminal.
"""
