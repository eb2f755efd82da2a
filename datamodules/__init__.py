"""Datamodules: batches of uint8 images or token ids, reproducible from (seed, epoch, step, rank).

Each module holds one data set or one kind of data, which a config names by its class. The parts they are built from
are in `images/` (augmentation included) and `text/`. To add a data set of images, subclass
`images.base.ImageDataModule`, as `digits.py` does; to add a text task, subclass `text.tasks.TextTask`. No other file
needs to change.
"""
