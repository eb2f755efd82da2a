"""Networks written by hand: plain `nn.Module`s that import torch and nothing of the framework around them."""
