"""Hand-written networks: plain `nn.Module`s that import torch and nothing from the framework around them."""
