"""Who answers: torch in this process, llama.cpp in a child process, or a server."""

from calbench.runtimes._access import allow, forget_after, oldest_answer
from calbench.runtimes._chat import ChatServer, count_messages
from calbench.runtimes._connect import Connection, connected, reconnected
from calbench.runtimes._gguf_writing import write_gguf
from calbench.runtimes._http import Client, Patience
from calbench.runtimes._llama_cpp import LlamaCppRuntime, LlamaOptions, serving
from calbench.runtimes._llama_server import LlamaServer
from calbench.runtimes._openai import OpenAIServer
from calbench.runtimes._protocol import Prepared, Runtime, TokenServer
from calbench.runtimes._scoring import ask_all
from calbench.runtimes._self_test import Check, SelfTest, require
from calbench.runtimes._served_runtime import ServedRuntime
from calbench.runtimes._systemone import SystemOneServer
from calbench.runtimes._tokens import count_requests
from calbench.runtimes._torch import TorchRuntime

__all__ = [
    "ChatServer",
    "Check",
    "Client",
    "Connection",
    "LlamaCppRuntime",
    "LlamaOptions",
    "LlamaServer",
    "OpenAIServer",
    "Patience",
    "Prepared",
    "Runtime",
    "SelfTest",
    "ServedRuntime",
    "SystemOneServer",
    "TokenServer",
    "TorchRuntime",
    "allow",
    "ask_all",
    "connected",
    "count_messages",
    "count_requests",
    "forget_after",
    "oldest_answer",
    "reconnected",
    "require",
    "serving",
    "write_gguf",
]
