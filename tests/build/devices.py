"""A stand-in for an accelerator: torch's `meta` device, of shapes without numbers."""

import collections

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

META = torch.device("meta")
VIEWS = {
    "view", "t", "transpose", "permute", "expand", "unsqueeze", "squeeze", "slice", "select",
    "detach", "alias", "_unsafe_view", "as_strided", "unbind", "split", "split_with_sizes",
    "empty", "empty_like",
}  # fmt: skip


class Count(TorchDispatchMode):
    """Operations on the device, and copies between it and the host, which give zeros."""

    def __init__(self):
        super().__init__()
        self.operations, self.copies = 0, collections.Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = str(function).split(".")[1]
        devices = {x.device.type for x in tree_leaves((args, kwargs)) if torch.is_tensor(x)}
        if (
            name == "_to_copy"
            and devices == {"meta"}
            and kwargs.get("device") == torch.device("cpu")
        ):
            self.copies["to the host"] += 1
            return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        result = function(*args, **kwargs)
        devices |= {x.device.type for x in tree_leaves(result) if torch.is_tensor(x)}
        if devices == {"cpu", "meta"}:
            self.copies[name] += 1
        self.operations += "meta" in devices and name not in VIEWS
        return result
