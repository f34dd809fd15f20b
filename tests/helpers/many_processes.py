"""Processes that train together, as torchrun starts them, but without what it costs to start it."""

import os
import socket
import subprocess
import sys
from pathlib import Path

HELPERS = Path(__file__).parent
SETTING = """
import json, signal, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
import torch.distributed as dist
from tiny import tiny_trainer
folder, options = Path(sys.argv[1]), sys.argv[3:]
"""


def together(script: str, folder: Path, *options: str, world: int = 2) -> list[int]:
    """Exit statuses of `world` processes that run `script`, in which `folder` and `options` are."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    whole = f"{SETTING}{script}\nif dist.is_initialized(): dist.destroy_process_group()\n"
    launch = {"WORLD_SIZE": str(world), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", whole, folder, HELPERS, *options],
            env=os.environ | launch | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(world)
    ]
    try:
        return [process.wait(timeout=900) for process in processes]
    finally:
        for process in processes:
            process.kill()
