"""Utilities that every other package may import; they import none of those packages."""
