"""The account and all money arithmetic: configuration, the kernel's transition, rewards."""
