"""The commands of the `cryptoenv` command line, a file each."""
