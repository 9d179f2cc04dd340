"""The house next door: the helper on the hypervisor, which shares only the hall's smallest words."""
