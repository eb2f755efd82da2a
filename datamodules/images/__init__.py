"""Parts of the image datamodules: files, augmentation, order, sets of images."""
