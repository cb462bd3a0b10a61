"""Suites that train models or run llama.cpp take many minutes, and run when they are named by file only."""

collect_ignore = ["test_distillation.py", "test_ptq_vs_qlora.py", "test_runtime_parity.py"]
