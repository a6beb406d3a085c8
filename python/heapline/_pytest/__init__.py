"""What heapline.pytest_plugin loads when it is asked for: nothing of this costs a run of pytest that asks for nothing."""
