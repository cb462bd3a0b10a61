"""The child process of the llama.cpp runtime: serves one GGUF file until its standard input ends.

It is a process of its own because an abort in native code ends the process it happens in. The API key
comes through the environment: arguments are seen by every user of the machine.
"""

from __future__ import annotations

import json
import os
import sys


def main() -> None:
    """Serve the file that the settings in ``argv[1]`` name; print the address as one line of JSON."""
    import xllamacpp

    settings = json.loads(sys.argv[1])
    params = xllamacpp.CommonParams()
    params.model.path = settings["path"]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [os.environ.pop("CALBENCH_CHILD_KEY")]
    params.n_parallel = settings["slots"]
    params.n_ctx = settings["slots"] * settings["context"]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings["threads"]
    params.n_gpu_layers = 0 if settings["cpu"] else params.n_gpu_layers
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type[f"GGML_TYPE_{settings['kv'].upper()}"]
    flash = xllamacpp.llama_flash_attn_type
    params.flash_attn_type = (
        flash.LLAMA_FLASH_ATTN_TYPE_ENABLED if settings["flash"] else flash.LLAMA_FLASH_ATTN_TYPE_DISABLED
    )
    params.ui = False
    params.endpoint_metrics = True
    server = xllamacpp.Server(params)
    print(json.dumps({"address": server.listening_address}), flush=True)  # noqa: T201 (the parent reads it)
    sys.stdin.read()


if __name__ == "__main__":
    main()
