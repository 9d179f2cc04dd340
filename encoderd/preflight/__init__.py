"""
Preflight: is the GPU path sound, right now?

In: sysfs, /dev/dri, what a child says of this PyAV, and the result of a trial encode. Out: findings, in the order in
which one would repair them. It never loads FFmpeg, and never changes the machine.
"""
