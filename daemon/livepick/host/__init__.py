"""The machine: disks, GPUs, locks, atomic files, systemd."""
