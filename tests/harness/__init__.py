"""What the suites stand on: the binary as a process, upstreams that do what a test says, raw HTTP."""
