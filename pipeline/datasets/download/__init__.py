"""Recordings brought into place: rendered, downloaded or found there.

In: a collection of the catalogue, and the folder where its recordings belong.
Out: that folder, whole and checked, or as it was; what breaks on the way is resumed by the next
call. Nothing here knows what a track is. Open `obtain.py` first.
"""
