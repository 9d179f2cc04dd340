"""
Preflight: is the GPU path sound, right now, and if not, what is the first thing to repair?

In: sysfs, /dev/dri, drivers, firmware and runtimes as they lie on disk; what a child says of this PyAV and of loading
each runtime; the result of a trial encode. Out: findings, in the order in which one would repair them. `gpus` is the
table of what each Intel GPU needs. It never loads FFmpeg or a runtime, and never changes the machine.
"""
