"""What every page and service of ours stands behind: keys, limits, figures for Prometheus, and a server that drains."""
