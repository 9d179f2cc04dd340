"""
Encode: from a job to a verified file.

In: one recording and the encode settings. Out: a published H.264 file with its receipt, or a failure with its kind.
FFmpeg (PyAV) is loaded only in the child process. It never changes the recording and never replaces a file.
"""
