"""Fused CUDA kernels of the transformer and the decoders, in Triton.

Each does in one pass over memory what the plain torch code of the layers does in several; that code
is the reference, and runs wherever the kernels do not. The kernels are torch operators, so that
torch.compile, CUDA graphs and tracers of shapes see one operation each. Results depend on the
arguments alone: no kernel is chosen by a timing, and sums have one order. Open `choose.py` first.
"""
