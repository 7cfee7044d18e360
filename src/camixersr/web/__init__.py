"""An HTTP service that enlarges and restores pictures, and the page in front of it.

The server itself decodes and computes nothing: it takes uploads, keeps a queue in SQLite and answers. One
process for each device computes (`worker`), another reads heads and cuts tiles (`pictures`). What
they do wrong with a hostile file ends them, and not the server.
"""
