"""Reading audio: any file that libsndfile or FFmpeg decodes, in blocks, checked.

In: a track of `pipeline.tracks`, whose parts name files, channels and streams, and a folder.
Out: blocks of samples (channels, samples) of its sources, or one mono signal a source at another
rate; what is wrong with a file is a UserError that names it. Open `reading.py` first.
"""
