"""HTML pages built from the files of run folders: the report of one run, and the comparison of several.

The content of a page was written by callbacks during training and testing. Each page is a single file without any
address that a browser would fetch.
"""
