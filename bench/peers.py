#!/usr/bin/env python3
"""Measures what PyTorch reaches on the six workloads, by the protocol of bench/kernels: 40 calls in one CUDA graph, replayed
30 times, median per call; warm on one input set, cold with input sets that together exceed 4x L2. Prints the CSV of
bench/peers.csv. Needs a GPU and PyTorch 2.4 or newer.

    python3 bench/peers.py [WORKLOAD ...] > bench/peers.csv
"""
import statistics
import sys

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

CALLS, REPLAYS = 40, 30
DEVICE = "cuda"


def rms(x):
    return x / torch.sqrt(torch.mean(x.float() ** 2, -1, keepdim=True)).to(x.dtype)


def half(*shape):
    return torch.randn(*shape, device=DEVICE, dtype=torch.float16)


# workload: (inputs of a batch size, function, attention function over (q, k as (kv, d), v) or None)
def attention_inputs(b):
    return half(2 * b, 256, 64), half(2 * b, 64, 4096), half(2 * b, 4096, 64)


def attention(q, k, v):
    return torch.softmax(q @ k, -1) @ v


WORKLOADS = {
    "gqa": (attention_inputs, attention, lambda q, v: (q, v)),
    "qknorm": (attention_inputs, lambda q, k, v: attention(rms(q), k, rms(v)), lambda q, v: (rms(q), rms(v))),
    "rmsnorm": (lambda b: (half(2 * b, 4096), half(4096, 6144)), lambda x, w: rms(x) @ w, None),
    "lora": (lambda b: (half(b, 256), half(256, 4096), half(256, 16), half(16, 4096)),
             lambda x, w, a, c: x @ w + (x @ a) @ c, None),
    "gatedmlp": (lambda b: (half(b, 4096), half(4096, 4096), half(4096, 4096)),
                 lambda x, w1, w2: F.silu(x @ w1) * (x @ w2), None),
    "ntrans": (lambda b: (half(b, 4096), half(b, 4096), half(b, 4096)),
               lambda x, h, alpha: rms(x + alpha * (rms(h) + x)), None),
}


def time_us(function, sets):
    """Median microseconds a call over replays of a graph that rotates through the input sets."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream), torch.no_grad():
        for s in sets[:3]:
            function(*s)
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            for i in range(CALLS):
                function(*sets[i % len(sets)])
        times = []
        for _ in range(REPLAYS + 3):
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record(stream)
            graph.replay()
            end.record(stream)
            end.synchronize()
            times.append(begin.elapsed_time(end) * 1000 / CALLS)
    return statistics.median(times[3:])


def measure(name, batch, peer, function, make):
    l2 = torch.cuda.get_device_properties(0).L2_cache_size
    first = make()
    size = sum(t.numel() * t.element_size() for t in first)
    n = min(CALLS, 4 * l2 // size + 2)
    sets = [first] + [make() for _ in range(n - 1)]
    print(f"{name},{batch},{peer},{time_us(function, sets[:1]):.1f},{time_us(function, sets):.1f}", flush=True)


def main():
    print(f"# {torch.cuda.get_device_name(0)}, PyTorch {torch.__version__}")
    print("workload,batch,peer,warm_us,cold_us")
    for name in sys.argv[1:] or WORKLOADS:
        inputs, function, prepare = WORKLOADS[name]
        for batch in (1, 8, 16):
            measure(name, batch, "eager", function, lambda: inputs(batch))
            torch._dynamo.reset()
            compiled = torch.compile(function, mode="max-autotune-no-cudagraphs")
            measure(name, batch, "compile", compiled, lambda: inputs(batch))
            if prepare is None:
                continue

            def sdpa(q, k, v):
                q, v = prepare(q, v)
                return F.scaled_dot_product_attention(q[None], k[None], v[None], scale=1.0)

            def natural():
                q, k, v = inputs(batch)
                return q, k.transpose(1, 2).contiguous(), v

            for peer, backend in (("flash", SDPBackend.FLASH_ATTENTION), ("cudnn", SDPBackend.CUDNN_ATTENTION)):
                with sdpa_kernel(backend):
                    measure(name, batch, peer, sdpa, natural)


if __name__ == "__main__":
    main()
