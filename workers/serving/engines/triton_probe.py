"""Run once in Triton's environment: makes the installation whole, and says what it can do."""

from backend.domain.configuration import METHODS

_PROBE = r"""
import json, os, pathlib, re, shutil, site, stat, subprocess, sys, sysconfig
import aiohttp, ctranslate2, jinja2, numpy, tokenizers
from tritonclient.grpc import aio

home = pathlib.Path(site.getsitepackages()[0]) / "pytriton" / "tritonserver"
version = "%d.%d" % sys.version_info[:2]
stub = home / "python_backend_stubs" / version / "triton_python_backend_stub"
target = home / "backends" / "python" / stub.name
if not stub.exists():
    raise SystemExit("nvidia-pytriton has no Python backend for Python " + version)
shutil.copyfile(stub, target)
server = home / "bin" / "tritonserver"
for path in (target, server):
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
help_text = subprocess.run(
    [str(server), "--help"],
    env={**os.environ, "LD_LIBRARY_PATH": sysconfig.get_config_var("LIBDIR")},
    capture_output=True, text=True, timeout=60,
)
options = {}
kinds = {"integer": "int", "float": "float", "boolean": "text"}
text = help_text.stdout + help_text.stderr
for name, kind in re.findall(r"--([a-z][a-z0-9-]+)[ =]<([^>]*)>", text):
    option = {"flag": "--" + name, "kind": kinds.get(kind.lower(), "text")}
    if kind.lower() == "boolean":
        option["choices"] = ["true", "false"]
    options[name.replace("-", "_")] = option
if "grpc_port" not in options:
    raise SystemExit("tritonserver does not describe its options: " + help_text.stderr[-500:])
try:
    supported = ctranslate2.get_supported_compute_types(DEVICE)
except ValueError as error:
    supported = set()
refusal = "CTranslate2 does not compute it on this server's %s." % DEVICE.replace("cuda", "GPU")
quantizations = {
    name: {"on_load": True, "refusal": "" if name in supported else refusal}
    for name in QUANTIZATIONS
}
facts = {"options": options, "quantizations": quantizations}
sys.stdout.write("\n" + json.dumps(facts) + "\n")
"""


def probe(device: str) -> str:
    """The program for this device of CTranslate2: cpu or cuda."""
    return f"DEVICE = {device!r}\nQUANTIZATIONS = {METHODS['ctranslate2']!r}\n{_PROBE}"
