"""A worker's place among the others: rank, device, process group, and the collectives."""

import os
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

# Long enough for a slow disk under rank 0's checkpoint; a worker that dies is noticed at once by
# its connections.
_TIMEOUT = timedelta(minutes=10)


@dataclass(frozen=True)
class Mesh:
    """Data-parallel workers: this one's ``rank`` of ``size`` and its ``device``."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this worker writes checkpoints and curves."""
        return self.rank == 0

    def sum(self, *values: float) -> list[float]:
        """Sum each value over all workers, in float64; the same bits on every worker."""
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return tensor.tolist()

    def average_buffers(self, network: nn.Module) -> None:
        """Make buffers equal on all workers: running statistics are averaged, others are rank 0's.

        Batch norm normalizes with each worker's own rows (torch has no SyncBatchNorm for gloo), so
        its running statistics differ until they are averaged here, once an epoch, before they are
        used.
        """
        averaged = set()
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._NormBase):
                averaged |= {id(module.running_mean), id(module.running_var)}
        for buffer in network.buffers():
            if id(buffer) in averaged:
                dist.all_reduce(buffer)
                buffer.div_(self.size)
            else:
                dist.broadcast(buffer, src=0)


def join(store: Path) -> Mesh:
    """Join the process group of this launch.

    Workers meet through a file and talk over the loopback interface: no port is open to other
    machines.

    Args:
        store: A file, new for each launch, that all workers can write.
    """
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    device, backend = torch.device("cpu"), "gloo"
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is not None:
        count = torch.accelerator.device_count()
        device = torch.device(accelerator.type, rank % count)
        torch.accelerator.set_device_index(device.index)
        if size <= count:  # NCCL refuses two workers on one device; gloo does not
            backend = dist.get_default_backend_for_device(device)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo" if sys.platform == "linux" else "lo0")
    dist.init_process_group(
        backend,
        store=dist.FileStore(str(store), size),  # pyright: ignore[reportPrivateImportUsage]
        rank=rank,
        world_size=size,
        timeout=_TIMEOUT,
    )
    return Mesh(rank, size, device)


def leave() -> None:
    """Wait for the others.

    The process group is left to the end of the process: destroying gloo's can block for ever, when
    its own thread drops the last reference to a tensor, for which it needs the interpreter's lock.
    """
    dist.barrier()
