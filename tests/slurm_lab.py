"""A SLURM of this machine alone: its controller and nodes, each with a host name of its own, on loopback.

It needs root, and Debian's packages slurmctld, slurmd, slurm-client and munge; it has no cgroups.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from helpers import wait_for

CONFIGURATION = """\
ClusterName=lab
SlurmctldHost=controller(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
PropagateResourceLimits=NONE
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmctldParameters=preempt_send_user_signal
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1,batch_sched_delay=0
PriorityType=priority/basic
KillWait=5
MinJobAge=600
ReturnToService=2
SlurmctldTimeout=30
SlurmdTimeout=10
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
"""
PARTITIONS = """\
PartitionName=low  Nodes=ALL Default=YES MaxTime=60 DefaultTime=10 State=UP PriorityTier=1  GraceTime=10
PartitionName=high Nodes=ALL MaxTime=60 DefaultTime=10 State=UP PriorityTier=10 PreemptMode=OFF
"""


def programs():
    """List the programs that a lab needs and that are missing."""
    names = ("munged", "slurmctld", "slurmd", "sbatch", "unshare")
    return [name for name in names if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]


class Lab:
    """A cluster from `start` to `stop`.

    Args:
        folder: where it keeps its files.
        nodes: how many nodes it has, `n1` and so on.
    """

    def __init__(self, folder, nodes):
        self.folder = Path(folder)
        self.nodes = [f"n{number}" for number in range(1, nodes + 1)]
        self.environment = {"SLURM_CONF": str(self.folder / "slurm.conf")}
        self._daemons = {}

    def start(self):
        for name in ("state", *(f"spool/{node}" for node in self.nodes)):
            (self.folder / name).mkdir(parents=True)
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        hosts = "".join(f"127.0.0.1 {name}\n" for name in ("localhost", "controller", *self.nodes))
        (self.folder / "hosts").write_text(hosts)
        port, *ports = free_ports(1 + len(self.nodes))
        lines = [
            f"NodeName={node} NodeAddr=127.0.0.1 Port={port} CPUs=4 RealMemory=4000\n"
            for node, port in zip(self.nodes, ports, strict=True)
        ]
        text = CONFIGURATION.format(port=port, folder=self.folder) + "".join(lines) + PARTITIONS
        (self.folder / "slurm.conf").write_text(text)
        # Named outright, as the default looks for systemd.
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        munge = [f"--{name}={self.folder}/munge.{end}" for name, end in
                 (("key-file", "key"), ("socket", "sock"), ("pid-file", "pid"), ("log-file", "log"),
                  ("seed-file", "seed"))]  # fmt: skip
        self._daemon("munged", "munged", "--foreground", "--force", *munge)
        wait_for(lambda: (self.folder / "munge.sock").exists())
        self._daemon("controller", "slurmctld", "-i", "-D", host="controller")
        for node in self.nodes:
            self.start_node(node)
        idle = ("sinfo", "-h", "-p", "low", "-t", "idle", "-o", "%D")
        wait_for(lambda: self.command(*idle) == str(len(self.nodes)))
        return self

    def start_node(self, node):
        self._daemon(node, "slurmd", "-N", node, "-D", host=node)

    def kill_node(self, node):
        """End a node's daemon, as when its network is gone: what it runs lives on."""
        self._daemons[node].kill()
        self._daemons[node].wait()
        # As the controller does by itself when the node has been silent for long enough.
        self.command("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=silent")

    def _daemon(self, name, *command, host=None):
        if host is not None:  # a host name of its own, and that it is this machine
            own = f'hostname {host} && mount --bind {self.folder}/hosts /etc/hosts && exec "$@"'
            command = ["unshare", "--uts", "--mount", "sh", "-c", own, "sh", *command]
        log = open(self.folder / f"{name}.out", "ab")
        self._daemons[name] = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            env={**os.environ, **self.environment, "PATH": f"{os.environ['PATH']}:/usr/sbin"},
        )  # fmt: skip
        log.close()

    def command(self, *words):
        """Run one of SLURM's commands, and give its output."""
        shown = subprocess.run(
            words, capture_output=True, text=True, timeout=60, env={**os.environ, **self.environment}
        )
        return shown.stdout.strip()

    def stop(self):
        self.command("scancel", "--state=PENDING", "--me")
        self.command("scancel", "--me")
        end = time.monotonic() + 20
        while self.command("squeue", "-h") and time.monotonic() < end:
            time.sleep(0.1)
        for name in [*self.nodes, "controller", "munged"]:
            daemon = self._daemons.get(name)
            if daemon is not None:
                daemon.terminate()
        for daemon in self._daemons.values():
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        for pid in self._left():
            os.kill(pid, signal.SIGKILL)

    def _left(self):
        """Find processes of this lab's jobs that outlived their node's daemon, by their environment."""
        mark = f"SLURM_CONF={self.folder}/slurm.conf".encode()
        for place in Path("/proc").glob("[0-9]*"):
            try:
                variables = (place / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            of_job = any(each.startswith(b"SLURM_JOB_ID=") for each in variables)
            if mark in variables and (of_job or (place / "comm").read_text() == "slurmstepd\n"):
                yield int(place.name)


def free_ports(number):
    """Find ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
