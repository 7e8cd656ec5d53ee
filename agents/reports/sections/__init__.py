"""The sections of a report, each made from a record alone; `contents` has their order."""
