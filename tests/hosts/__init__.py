"""Hosts made in folders: what /proc, /sys and /dev say there."""
