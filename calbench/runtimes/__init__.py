"""Who answers: torch in this process, llama.cpp in a child process, or a server."""

from calbench.runtimes._gguf_writing import write_gguf
from calbench.runtimes._llama_cpp import LlamaCppRuntime, LlamaOptions, serving
from calbench.runtimes._llama_server import LlamaServer
from calbench.runtimes._protocol import Prepared, Runtime, TokenServer
from calbench.runtimes._scoring import ask_all
from calbench.runtimes._token_runtime import TokenRuntime
from calbench.runtimes._torch import TorchRuntime

__all__ = [
    "LlamaCppRuntime",
    "LlamaOptions",
    "LlamaServer",
    "Prepared",
    "Runtime",
    "TokenRuntime",
    "TokenServer",
    "TorchRuntime",
    "ask_all",
    "serving",
    "write_gguf",
]
