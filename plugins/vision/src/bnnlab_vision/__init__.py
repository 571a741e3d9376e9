"""Streams of tasks over published image data sets and folders of images."""
