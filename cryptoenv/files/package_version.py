"""The version of the package, for everything that is kept in a file."""

PACKAGE_VERSION = "0.1.0"
