"""Rows that are spread over processes are labelled as if they were in one."""

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from rs_otl.clustering import balanced_labels, power_law
from rs_otl.errors import InputError

ROWS, CLUSTERS = 1500, 20


def _outputs():
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(ROWS, CLUSTERS, generator=generator)
    return outputs + 2 * torch.randn(CLUSTERS, generator=generator)


CALLS = [
    {},
    {"targets": power_law(ROWS, CLUSTERS, 2)},
    {"method": "translation-paper"},
    {"method": "sinkhorn"},
]


def _work(rank, sizes, folder):
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=len(sizes)
    )
    own = _outputs().split(sizes)[rank]
    found = [balanced_labels(own, group=dist.group.WORLD, **call) for call in CALLS]
    refused = ""
    try:
        if rank == 0:
            own[5, 7] = torch.inf
        balanced_labels(own, group=dist.group.WORLD)
    except InputError as error:
        refused = str(error)
    kept = [(f.labels, f.counts, f.std, f.translation) for f in found]
    torch.save((kept, refused), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_the_labels_are_those_of_one_process(tmp_path):
    sizes = [850, 0, 650]
    mp.spawn(_work, (sizes, str(tmp_path)), nprocs=len(sizes))
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(len(sizes))]
    for number, call in enumerate(CALLS):
        alone = balanced_labels(_outputs(), **call)
        labels = torch.cat([kept[number][0] for kept, _ in parts])
        assert torch.equal(labels, alone.labels), call
        for kept, _ in parts:
            _, counts, std, translation = kept[number]
            assert torch.equal(counts, alone.counts)
            assert std == alone.std
            assert torch.equal(translation, parts[0][0][number][3])  # one shift for all
    # An infinity in one process is refused in all, so that none waits for ever.
    assert all("not finite" in refused for _, refused in parts)
