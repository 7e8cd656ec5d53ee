"""The benchmark's protocol: agents judged alike, in files that anyone can check by replaying their actions."""
