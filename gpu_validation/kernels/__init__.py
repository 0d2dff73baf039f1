"""Triton kernels and their launchers: one pass over memory where PyTorch makes ten.

Importing this package imports no Triton.

A feature map `[B, C, H, W]` is kept channels-last, so memory is a matrix of P = B H W pixels by C channels and the
channels of a pixel are contiguous. Sums are float32 (float64 for float64 tensors), in an order that depends on the
shape alone, without atomics: the same call gives the same bits.

    statistics   mean and variance of the convolutions that enter a node                      (K1)
    node         node = sum over inputs of skip, pool and normalised convolutions             (K2)
    backward     gradients of the convolutions' outputs, of the gates, of a node's value      (K3)
    choice       the same three for the choice block of NAS-Bench-1Shot1
    update       Adam and VAdam for the architecture parameters of many supernets at once
    model        bytes and operations of all of it;  compile: machine code without a GPU
"""
