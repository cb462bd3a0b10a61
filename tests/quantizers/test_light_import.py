import subprocess
import sys


def test_listing_quantizers_imports_no_third_party_package():
    code = (
        "import sys, calbench.quantizers as q; q.names(); q.get('gptq-int4'); q.get('bnb-nf4');"
        "print({'torch', 'numpy', 'transformers', 'bitsandbytes', 'filelock'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
