"""Pages about runs, built from the files of their folders: the report of one, the comparison of several.

What such a page shows of the training and of a test was written by the callbacks that had it. Pages are single files
without any address in them that a browser would fetch.
"""
