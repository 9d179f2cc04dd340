"""
Intake: from the recording folders to candidates.

In: the watch folders' settings. Out: `Candidate`s, each a recording that has stopped growing and that nobody writes,
and findings about folders and files that cannot be read. `Watcher` is the way in.
It never reads a recording's content, never opens anything but regular files, and changes nothing in the folders.

A scanner thread per folder walks its tree (hinted by events, and every now and then) and takes sightings; the daemon's
thread hands them to `Completeness`, which decides, and asks for a last look at what has rested long enough.
"""
