"""What the kernels give on a CPU, in Triton's interpreter, beside torch: run by the tests in a process of its own."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from fractal.encoders.kernels import add_and_norm, attend
from fractal.encoders.packed import how_unlike_the_library

torch.manual_seed(0)
for lengths in ([1, 2, 3, 16, 5], [20, 32, 7], [64, 40, 33], [100, 3, 129, 64, 65]):
    heads, size, tokens = 3, 32, sum(lengths)
    joined = torch.randn(tokens, 3, heads, size)
    ends = torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32)
    text = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    parts = [part.transpose(0, 1) for part in joined.unbind(1)]
    same = (text[:, None] == text[None, :])[None]
    expected = functional.scaled_dot_product_attention(*parts, attn_mask=same).transpose(0, 1).reshape(tokens, -1)
    torch.testing.assert_close(attend(joined, ends, max(lengths)), expected, atol=1e-5, rtol=1e-5)

for count, width in ((1, 384), (13, 384), (6, 768)):
    one, other, weight, bias = torch.randn(count, width), torch.randn(count, width), *torch.randn(2, width)
    expected = functional.layer_norm(one + other, (width,), weight, bias, 1e-12)
    torch.testing.assert_close(add_and_norm(one, other, weight, bias, 1e-12), expected, atol=1e-5, rtol=1e-5)
assert how_unlike_the_library(add_and_norm, attend, "cpu", "float16") == ""  # the interpreter's bfloat16 is no number
