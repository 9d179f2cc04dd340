"""
`make compare FOLDER=…`: the engine beside FFmpeg's own tools, over a folder of anybody's recordings.

In: files. Out: one block of text for each (or JSON), and exit code 1 when something differs. Nothing of the recordings
is kept, and nothing is written beside them. It judges by what ffprobe and ffmpeg decode from the recording and from
our output, never by what the pipeline says of itself. It is no part of the installed package.
"""
