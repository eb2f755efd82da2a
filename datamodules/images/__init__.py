"""Parts of the image datamodules: base class, augmentation, files, order of the batches, images in memory."""
