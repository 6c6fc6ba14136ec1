"""Where data is read: trees of files, disk images, the output of commands.

A source knows no repository and no keys, so it can be tested and replaced alone.
"""
