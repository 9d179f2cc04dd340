"""
The helper on a real kernel, in an emulated machine with an emulated VT-d: nothing here writes to this machine's /sys.

`rig` starts the outer machine, in which the inner one runs, and reads what `inside` tells from within, step by step;
`steps` and `deaths` are what is done there. The tests judge what was told.
"""
