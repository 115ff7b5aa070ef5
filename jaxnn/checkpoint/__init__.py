"""Checkpoints: any pytree in a file that is written whole or not at all, and folders of them. No pickle.

A file is in the safetensors format: named tensors that other tools can read, too. Its header also carries a JSON object
of your own and the SHA-256 of the whole file, so a file that was cut short or changed is never taken for a good one.

    save(path, tree)  ->  load(path, like=tree)      one file
    Checkpoints(folder).save(tree)  ->  .latest(like=tree)      generations: the newest few, and the best
    jaxnn.fit(..., checkpoint=folder)      a run that goes on where it stopped, to the same bits
"""

from jaxnn.checkpoint._file import Content as Content
from jaxnn.checkpoint._file import load as load
from jaxnn.checkpoint._file import read as read
from jaxnn.checkpoint._file import save as save
from jaxnn.checkpoint._generations import Checkpoints as Checkpoints
from jaxnn.checkpoint._generations import Generation as Generation

__all__ = ["Checkpoints", "Content", "Generation", "load", "read", "save"]
