"""Tables of any library: columns, times, and the regular series that they hold."""
