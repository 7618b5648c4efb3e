"""How fast plugbus is, each figure beside that of something else measured in the same minute.

``python -m benchmarks [P1 P4] [--short] [--json PATH]``; the bars are ratios, because times differ between machines.
"""
