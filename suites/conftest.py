"""Suites that train models, run llama.cpp or ask servers run when they are named by file only."""

collect_ignore = ["test_distillation.py", "test_ptq_vs_qlora.py", "test_runtime_parity.py", "test_served.py"]
