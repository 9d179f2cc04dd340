"""encoderd: television recordings in, proven H.264 files out, on Intel Quick Sync in a KVM guest."""

__version__ = "0.1.0"
