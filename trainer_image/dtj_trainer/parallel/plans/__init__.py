"""What the families of models look like inside: a file each, and how to find the right one."""
