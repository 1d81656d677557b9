"""What a Samba share over a mount must look like, and whether it does. No keys, no FUSE, no terminal."""
