"""The benchmark harness: what runs, under which tools, how it is measured, and what is made of the numbers."""
