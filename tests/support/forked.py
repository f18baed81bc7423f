# What stands for `merit` and `dvc` in the folder of `forks`: it has a server fork, and ends as the fork does.
# It loads next to nothing, for there are thousands of it.
import _signal
import _socket
import array
import marshal
import os
import sys

OWN = ("OMP_", "MKL_", "OPENBLAS_", "LD_", "PYTHON", "MALLOC_")
"""What is read as libraries are loaded, or as Python starts: with one of these it must be the program itself."""
KNOWN = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
folder, name = os.path.split(os.path.abspath(sys.argv[0]))  # noqa: PTH100


def itself():
    real = os.path.realpath(folder + "/real")
    program = [f"{real}/python", "-m", name] if "." in name else [f"{real}/{name}"]
    os.execv(program[0], [*program, *sys.argv[1:]])  # noqa: S606


if "TESTS_NO_FORK" in os.environ or any(each.startswith(OWN) and each not in KNOWN for each in os.environ):
    itself()
server = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
try:
    server.connect(os.path.realpath(folder) + "/socket")
except OSError:
    itself()
umask = os.umask(0)
os.umask(umask)
told = {"args": [name, *sys.argv[1:]], "cwd": os.getcwd(), "env": dict(os.environ), "umask": umask}  # noqa: PTH109
told = marshal.dumps(told)
files = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))]
fork = 0
waiting = []


def forward(number, _):
    tell(number) if fork else waiting.append(number)


def tell(number):
    # Ctrl-C is for the whole group.
    (os.killpg if number == _signal.SIGINT else os.kill)(fork, number)


for number in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGUSR1, _signal.SIGUSR2):
    if _signal.getsignal(number) != _signal.SIG_IGN:
        _signal.signal(number, forward)
server.sendmsg([b"%8d" % len(told)], files)
server.sendall(told)
fork = int(server.recv(8))
for number in waiting:
    tell(number)
status = os.waitstatus_to_exitcode(int(server.recv(8)))
if status < 0:
    _signal.signal(-status, _signal.SIG_DFL) if -status != _signal.SIGKILL else None
    os.kill(os.getpid(), -status)
os._exit(status)
