"""
Intake: from the recording folders to candidates.

In: the watch folders' settings. Out: `Candidate`s, each a recording that has stopped growing and that nobody writes.
It never reads a recording's content, never opens anything but regular files, and changes nothing in the folders.
"""
