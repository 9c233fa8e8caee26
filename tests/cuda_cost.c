/* The cost model: figures that measurements bound, and the directions in which it must move. */
#include "cuda_templates/cost.h"

#include "golden.h"
#include "mugraph/file/saved.h"
#include "search_structures.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static mugraph g;
static mugraph_error error;
static const cuda_device *h100, *a100, *h200;

static int set_up (void **state) {
  (void) state;
  h100 = cuda_device_find ("h100"), a100 = cuda_device_find ("a100"), h200 = cuda_device_find ("h200");
  assert_non_null (h100), assert_non_null (a100), assert_non_null (h200);
  return 0;
}

static void ok (bool built) {
  if (!built) fail_msg ("%s", error.text);
}

static double microseconds (const cuda_device *d) { return cost_graph (&g, d); }

/* Launched plainly. */
static double of_plan (cuda_plan *p, const cuda_device *d, cost_parts *parts) {
  cost_caches cold = {{false}};
  if (!p->compiled_regs) p->compiled_regs = p->regs;
  double score = cost_planned (&g, 0, p, d, &cold, parts);
  assert_true (score == cost_score (parts->plain, parts->pdl) && score == parts->total);
  assert_true (d->arch >= 90 || isinf (parts->pdl));
  return 1e6 * parts->plain;
}

/* The plan of kernel 0 of the graph in g by a generator, which tests then change. */
static cuda_plan planned (int generator) {
  cuda_plan p;
  g.block[g.op[0].block].sched.backend = (int16_t) generator;
  ok (cuda_plan_kernel (&g, 0, h100, &p, &error));
  p.compiled_regs = p.workspace = 0, p.smem_bytes = 0, p.l2_read = p.dram_read = p.dram_write = 0;
  p.mma_flops = p.sfu_ops = p.fp32_flops = 0;
  return p;
}

/* A plan that the generator of streamed weights might make for the graph in g. */
static cuda_plan streaming (int64_t blocks, int stages, int iterations) {
  cuda_plan p = planned (CUDA_GENERATOR_STREAM);
  p.threads = 256, p.cluster = 1, p.blocks = blocks, p.smem = 40000;
  p.regs = 128, p.iterations = iterations, p.sched.stages = (int16_t) stages, p.sched.split = 1;
  p.dram_read = p.l2_read = 50.3e6;
  p.dram_write = 24e3;
  p.mma_flops = 2.0 * 8 * 4096 * 6144;
  return p;
}

/* A plan of chained matmuls by so many warpgroups. */
static cuda_plan chained (int groups, int64_t blocks) {
  cuda_plan p = planned (CUDA_GENERATOR_CHAIN);
  p.threads = 128 * groups, p.sched.warps = (int16_t) (4 * groups), p.blocks = blocks;
  return p;
}

static void test_rooflines (void **state) {
  (void) state;
  cost_parts parts;
  ok (build_rms_norm (&g, 2, 4096, 6144, 96, 64, &error));
  cuda_plan p = streaming (128, 4, 32);
  double t = of_plan (&p, h100, &parts);
  assert_true (t > 16.9 && t < 20); /* reading 50.3 MB takes 17.7 by measurement */
  assert_true (parts.dram >= 50.3e6 / h100->dram_bw && parts.plain >= parts.launch + parts.dram);
  assert_true (of_plan (&p, a100, &parts) > 1.5 * t);
  assert_true (of_plan (&p, h200, &parts) < 0.9 * t);

  cuda_plan busy = p; /* tensor-bound: the time is the flops' */
  busy.mma_flops = 4e10;
  assert_true (of_plan (&busy, h100, &parts) > 1e6 * 4e10 / h100->mma_f16);
  busy.mma_flops = p.mma_flops, busy.sfu_ops = 2e8;
  assert_true (of_plan (&busy, h100, &parts) > 1e6 * 2e8 / h100->sfu);

  cuda_plan small = p; /* launch-bound */
  small.dram_read = small.l2_read = 2.24e6, small.mma_flops /= 24, small.iterations = 2;
  t = of_plan (&small, h100, &parts);
  assert_true (t > 1.9 && t < 3.6); /* 2.9 by measurement, with a tenth of these partial sums */
}

/* Attention at 8 sequences with the scores in registers: about 12 us are within reach, 5.5 of them for reading. */
static void test_matrix_and_special_units (void **state) {
  (void) state;
  cost_parts parts;
  ok (build_attention (&g, 16, 256, 64, 4096, 2, 1, 64, &error));
  cuda_plan p = chained (2, 128);
  p.cluster = 1, p.smem = 100000, p.regs = 200, p.iterations = 16, p.sched.stages = 3, p.sched.split = 1;
  p.dram_read = 17.3e6, p.l2_read = 34e6, p.dram_write = 4e6;
  p.mma_flops = 4.0 * 16 * 256 * 4096 * 64, p.sfu_ops = 16.0 * 256 * 4096;
  double both = of_plan (&p, h100, &parts);
  assert_true (both > 11 && both < 21); /* 16 to 18.3 by measurement */
  p.sfu_ops = 0;
  assert_true (of_plan (&p, h100, &parts) < both - 0.5); /* they do not overlap altogether */
}

/* Chained matmuls by one warpgroup, by two that alternate, with few tiles in flight, and with calls side by side. Times
   of an H100, plain / pdl: 26 to 39 / 13 for four blocks an SM of one warpgroup, 16 to 18.3 / 16.1 for one block of
   two. */
static void test_warpgroups (void **state) {
  (void) state;
  cost_parts parts;
  ok (build_attention (&g, 16, 256, 64, 4096, 4, 1, 64, &error));
  g.block[1].sched.backend = CUDA_GENERATOR_ROWS; /* whose kernels let the next call begin */
  cuda_plan p = chained (2, 128);
  p.cluster = 2, p.smem = 180000, p.regs = 120, p.iterations = 16, p.sched.stages = 10, p.sched.split = 2,
  p.sched.tile_n = 64;
  p.dram_read = 17.3e6, p.l2_read = 67e6, p.dram_write = 0.5e6;
  p.mma_flops = 4.0 * 16 * 256 * 4096 * 64, p.sfu_ops = 16.0 * 256 * 4096, p.fp32_flops = 4 * p.sfu_ops;
  double two = of_plan (&p, h100, &parts), two_pdl = 1e6 * parts.pdl;
  assert_true (two > 14 && two < 20 && two_pdl > 11 && two_pdl < 17); /* 12.8 / 11.2 for half of these heads */
  p.sched.stages = 4;                                                 /* as deep as two tiles each */
  assert_true (of_plan (&p, h100, &parts) > two + 0.5);
  p.threads = 128, p.sched.warps = 4, p.iterations = 32, p.sched.stages = 13;
  double one = of_plan (&p, h100, &parts);
  assert_true (one > 1.3 * two); /* nothing hides its latency */
  p.smem = 50000, p.sched.stages = 2;
  assert_true (of_plan (&p, h100, &parts) >= one);
  assert_true (1e6 * parts.pdl < two_pdl);           /* but four calls do, side by side */
  g.block[1].sched.backend = CUDA_GENERATOR_GENERIC; /* waits at its start: then there is only one at a time */
  of_plan (&p, h100, &parts);
  assert_true (fabs (parts.plain - parts.pdl - (h100->launch - h100->launch_pdl)) < 1e-9);
}

/* Tiles of many rows: as long as the multiplications take, and no generator is without a rate. */
static void test_every_generator (void **state) {
  (void) state;
  cost_parts parts;
  for (int b = CUDA_GENERATOR_GENERIC; b < CUDA_N_GENERATORS; b++) {
    if (b == CUDA_GENERATOR_CHAIN) ok (build_attention (&g, 16, 256, 64, 4096, 2, 1, 64, &error));
    else if (b == CUDA_GENERATOR_ROWS) ok (build_residual (&g, 8, 4096, 8, &error));
    else if (b == CUDA_GENERATOR_TILED) ok (build_rms_norm (&g, 128, 4096, 6144, 48, 64, &error));
    else ok (build_rms_norm (&g, 32, 4096, 6144, 128, 64, &error));
    cuda_plan p = planned (b);
    p.threads = 384, p.sched.warps = 12, p.cluster = 1, p.blocks = 128, p.smem = 180000, p.regs = 168,
    p.iterations = 128;
    p.sched.stages = 4, p.sched.split = 1, p.sched.tile_n = 128, p.sched.tile_m = 64;
    p.dram_read = 55e6, p.l2_read = 250e6, p.dram_write = 6.3e6, p.mma_flops = 2.0 * 512 * 4096 * 6144;
    double t = of_plan (&p, h100, &parts);
    assert_true (t > 1e6 * p.mma_flops / h100->mma_f16 && isfinite (t));
    if (b == CUDA_GENERATOR_TILED) assert_true (t < 80);
  }
}

/* A ring's calls overlap less than others, and still each takes its launch and its part of the bandwidth. */
static void test_ring (void **state) {
  (void) state;
  cost_parts parts;
  ok (build_rms_norm (&g, 2, 4096, 6144, 96, 64, &error));
  g.block[0].sched.copy = 2;
  cuda_plan p = streaming (96, 8, 64);
  p.threads = 288, p.regs = 48, p.smem = 76000, p.sched.tile_n = 64, p.sched.copy = 2;
  double t = of_plan (&p, h100, &parts);
  assert_true (t > 17 && t < 20 && 1e6 * parts.pdl > 15.9 && 1e6 * parts.pdl < 18); /* 18.6 / 16.5 by measurement */
  p.dram_read = p.l2_read = 5e5, p.mma_flops /= 100, p.iterations = 2, p.blocks = 8;
  of_plan (&p, h100, &parts);
  assert_true (parts.pdl > h100->launch_pdl);
}

/* Elementwise over 100 MB: whole rows at once come near the bandwidth (71 us by measurement), element after element
 * does not (511). */
static void test_elements_in_flight (void **state) {
  (void) state;
  cost_parts parts;
  ok (build_residual (&g, 8, 4096, 8, &error));
  cuda_plan p = planned (CUDA_GENERATOR_ROWS), generic = planned (CUDA_GENERATOR_GENERIC);
  p.threads = 128, p.cluster = 1, p.blocks = 25000, p.smem = 0, p.regs = 64, p.iterations = 1;
  p.sched.split = 1, p.dram_read = p.l2_read = p.dram_write = 1.02e8, p.fp32_flops = 3.6e8;
  double rows = of_plan (&p, h100, &parts);
  assert_true (rows > 60 && rows < 85);
  generic.threads = 256, generic.cluster = 1, generic.blocks = 264, generic.smem = 0, generic.regs = 128;
  generic.iterations = 1, generic.fp32_flops = p.fp32_flops;
  generic.dram_read = generic.l2_read = generic.dram_write = 1.02e8;
  assert_true (of_plan (&generic, h100, &parts) > 4 * rows);
}

/* What reads another kernel's result cannot begin before it ends, however it is launched. */
static void test_dependent_kernels (void **state) {
  (void) state;
  cost_caches caches = {{false}};
  cost_parts first, second;
  ok (build_attention (&g, 2, 256, 64, 4096, 4, 8, 8, &error)); /* split, and combined by a second kernel */
  cost_kernel (&g, 0, h100, &caches, &first), cost_kernel (&g, 1, h100, &caches, &second);
  assert_true (fabs (second.plain - second.pdl - (h100->launch - h100->launch_pdl)) < 1e-9);
  /* nor does the next call, as the second kernel may wait for the first before it lets another begin */
  assert_true (fabs (first.plain - first.pdl - (h100->launch - h100->launch_pdl)) < 1e-9);
}

/* A file may ask for a generator that there is not: that kernel has no plan, the one before it has a cost. */
static void test_unknown_generator (void **state) {
  (void) state;
  cost_caches caches = {{false}};
  cost_parts parts;
  ok (build_rms_norm (&g, 2, 4096, 6144, 128, 64, &error));
  int k = mugraph_add_custom (&g, 1, (const int[]){g.op[0].out[0]}, (const int32_t[]){1, 1, 1}, 1);
  mugraph_block *b = &g.block[g.op[k].block];
  int x = mugraph_block_input (b, 0, (const int[]){-1, -1, -1}, -1);
  mugraph_block_output (b, mugraph_block_op (b, MUGRAPH_OP_NEG, x, -1, -1), (const int[]){-1, -1, -1});
  ok (mugraph_finish_custom (&g, k, &error));
  b->sched.backend = 15;
  assert_true (isfinite (cost_kernel (&g, 0, h100, &caches, &parts)));
  assert_true (isinf (cost_kernel (&g, k, h100, &caches, &parts)));
}

/* Calls side by side: few blocks that take long take little of a full device; where all places are taken, a call takes
   what its blocks hold theirs. */
static void test_places (void **state) {
  (void) state;
  cost_parts few, all, more;
  ok (build_rms_norm (&g, 2, 4096, 6144, 128, 64, &error));
  cuda_plan p = streaming (16, 1, 256);
  p.smem = 200000, p.regs = 100;
  p.sched.stages = 2, p.sched.split = 1, p.sched.tile_n = 64;
  p.dram_read = p.l2_read = 4e6, p.mma_flops = 1e8;
  of_plan (&p, h100, &few);
  assert_true (few.plain > 5 * few.pdl);
  p.blocks = 128, p.dram_read = p.l2_read = 32e6; /* each as long as before */
  of_plan (&p, h100, &all);
  assert_true (fabs (all.plain / few.plain - 1) < 0.05 && all.pdl > 0.85 * (all.plain - all.launch));
  p.smem = 100000; /* two of them fit */
  of_plan (&p, h100, &more);
  assert_true (more.pdl < 0.6 * all.pdl);
}

/* 8 clusters of 10 blocks do not find a place each, and two on an SM do; what is left over runs with the SM to itself.
 */
static void test_clusters_and_rests (void **state) {
  (void) state;
  cost_parts seven, eight, pairs;
  ok (build_attention (&g, 16, 256, 64, 4096, 4, 1, 64, &error));
  cuda_plan p = chained (2, 70);
  p.cluster = 10, p.smem = 200000, p.regs = 114, p.iterations = 16;
  p.sched.stages = 8, p.sched.split = 10, p.sched.tile_n = 64;
  p.dram_read = 2e6, p.l2_read = 8e6, p.mma_flops = 4.0 * 70 * 64 * 64 * 64 * 32, p.sfu_ops = p.mma_flops / 256;
  double one = of_plan (&p, h100, &seven);
  assert_true (seven.waves <= 1);
  p.blocks = 80, p.mma_flops *= 8 / 7.0, p.sfu_ops *= 8 / 7.0;
  double two = of_plan (&p, h100, &eight);
  assert_true (eight.waves > 1 && two > 1.6 * one && two < 2.1 * one);
  p.smem = 100000;
  double shared = of_plan (&p, h100, &pairs);
  assert_true (pairs.waves < 1 && shared < 0.8 * two && shared > one);
}

/* Registers run out by steps: what a loop takes beyond the plan halves the blocks of an SM, and a second wave comes of
 * it. */
static void test_streams (void **state) {
  (void) state;
  cost_parts parts;
  ok (build_rms_norm (&g, 2, 4096, 6144, 32, 64, &error));
  mugraph_sched *sched = &g.block[0].sched;
  sched->backend = CUDA_GENERATOR_STREAM, sched->split = 4, sched->warps = 12, sched->tile_n = 64, sched->stages = 2;
  cuda_plan p;
  ok (cuda_plan_kernel (&g, 0, h100, &p, &error));
  assert_true (p.iterations > p.sched.stages && p.compiled_regs > p.regs);
  assert_true (of_plan (&p, h100, &parts) > 22 && parts.occupancy == 1); /* 26 by measurement; 19 where two fit */
  p.compiled_regs = p.regs;
  assert_true (of_plan (&p, h100, &parts) < 21 && parts.occupancy == 2);
  ok (build_rms_norm (&g, 2, 4096, 6144, 96, 64, &error));
  /* what its warps leave for each other and what a block sends through its cluster come before it looks for the end of
   * the launch before */
  p = streaming (64, 2, 4), p.dram_read = p.l2_read = 2e6, p.mma_flops /= 24, p.smem = 8192, p.threads = 128;
  double little = of_plan (&p, h100, &parts), little_pdl = parts.pdl;
  p.smem = 32768;
  assert_true (of_plan (&p, h100, &parts) > little + 0.2 && parts.pdl < little_pdl + 0.1e-6);
  p.smem = 8192, p.cluster = 2;
  of_plan (&p, h100, &parts);
  double near = parts.plain, near_pdl = parts.pdl;
  ok (build_rms_norm (&g, 32, 4096, 6144, 12, 64, &error)); /* 64 KB */
  of_plan (&p, h100, &parts);
  assert_true (parts.plain > near + 1.5e-6 && parts.pdl < near_pdl + 1e-6);
}

static void test_bytes_in_flight (void **state) {
  (void) state;
  cost_parts parts;
  ok (build_rms_norm (&g, 2, 4096, 6144, 128, 64, &error));
  cuda_plan shallow = streaming (128, 1, 256), deep = streaming (128, 8, 256);
  assert_true (of_plan (&shallow, h100, &parts) > 3 * of_plan (&deep, h100, &parts)); /* 1.5 KB an SM hide nothing */
  cuda_plan few = streaming (16, 4, 32), many = streaming (128, 4, 32);
  assert_true (of_plan (&few, h100, &parts) > 1.5 * of_plan (&many, h100, &parts));
  cuda_plan half = streaming (64, 8, 32), all = streaming (128, 4, 32); /* as many bytes, from half of the SMs */
  assert_true (of_plan (&half, h100, &parts) > 1.05 * of_plan (&all, h100, &parts));
}

static void test_waves (void **state) {
  (void) state;
  cost_parts even, ragged;
  ok (build_rms_norm (&g, 2, 4096, 6144, 128, 64, &error));
  cuda_plan p = streaming (132, 4, 32);
  p.dram_read = p.l2_read = 1e6, p.mma_flops = 2e10, p.smem = 200000;
  double one = of_plan (&p, h100, &even);
  p.blocks = 133;
  double two = of_plan (&p, h100, &ragged);
  assert_int_equal (even.occupancy, 1);
  assert_true (even.waves <= 1 && ragged.waves > 1);
  assert_true (two > 1.4 * one && two < 2.5 * one);
  p.smem = 100000, p.regs = 110, p.compiled_regs = 124, p.sched.tile_n = 64;
  of_plan (&p, h100, &even);
  assert_int_equal (even.occupancy, 2);
  p.compiled_regs = 134; /* more than is planned */
  of_plan (&p, h100, &even);
  assert_int_equal (even.occupancy, 1);
  p.regs = p.compiled_regs = 255, p.threads = 512;
  assert_true (isinf (of_plan (&p, h100, &even)) || even.occupancy == 0); /* more registers than an SM has */
  p.regs = p.compiled_regs = 64, p.smem = h100->smem_block + 1;
  assert_true (isinf (of_plan (&p, h100, &even)));
}

static void test_clusters_cost (void **state) {
  (void) state;
  cost_parts parts;
  ok (build_rms_norm (&g, 2, 4096, 6144, 128, 64, &error));
  cuda_plan p = streaming (128, 4, 32);
  double alone = of_plan (&p, h100, &parts);
  p.cluster = 4, p.blocks = 120;
  double shared = of_plan (&p, h100, &parts);
  assert_true (shared > alone && shared < alone + 1);
  p.blocks = 128; /* 120 SMs hold clusters of 4 */
  p.smem = 200000;
  of_plan (&p, h100, &parts);
  assert_true (parts.waves > 1);
}

static void test_misaligned_tiles (void **state) {
  (void) state;
  cost_parts parts;
  ok (build_rms_norm (&g, 2, 4096, 6144, 128, 64, &error));
  cuda_plan p = streaming (128, 4, 32);
  double even = of_plan (&p, h100, &parts);
  ok (build_rms_norm (&g, 2, 4096, 6144, 131, 64, &error)); /* 47 columns */
  assert_true (of_plan (&p, h100, &parts) > 1.1 * even);
}

static void test_launches_and_caches (void **state) {
  (void) state;
  cost_parts parts;
  cost_caches caches = {{false}};
  ok (build_rms_norm (&g, 2, 4096, 2048, 64, 64, &error));
  cuda_plan p = streaming (128, 8, 32);
  p.dram_read = p.l2_read = 16.8e6;
  double plain = of_plan (&p, h100, &parts);
  assert_true (1e6 * parts.pdl < plain - 1 &&
               1e6 * parts.pdl > 1e6 * 16.8e6 / h100->dram_bw); /* the next call reads meanwhile */
  cost_leave (&g, 0, h100, &caches);
  assert_true (caches.warm[0] && caches.warm[1] && caches.warm[2]);
  cost_planned (&g, 0, &p, h100, &caches, &parts);
  assert_true (1e6 * parts.plain < 0.85 * plain);
  ok (build_rms_norm (&g, 2, 4096, 6144, 128, 64, &error)); /* 50 MB do not stay in 50 MB */
  cost_leave (&g, 0, h100, &caches);
  assert_true (!caches.warm[1] && caches.warm[2]);
}

/* Whole µGraphs: plausible by the measured peers, and two kernels dearer than their parts. */
static void test_whole_graphs (void **state) {
  (void) state;
  ok (build_rms_norm (&g, 2, 4096, 6144, 128, 64, &error));
  double norm = microseconds (h100);
  assert_true (norm > 17 && norm < 30);
  ok (build_low_rank (&g, 1, 256, 16, 4096, 128, 4, &error));
  assert_true (microseconds (h100) > 1.8 && microseconds (h100) < 6);
  ok (build_residual (&g, 8, 4096, 8, &error));
  assert_true (microseconds (h100) > 0.65 && microseconds (h100) < 5);
  assert_true (microseconds (a100) > microseconds (h100)); /* has no pdl */
  ok (build_attention (&g, 2, 256, 64, 4096, 4, 8, 8, &error));
  cost_caches caches = {{false}};
  cost_parts parts;
  double plain, pdl, first, first_pdl;
  cost_kernel (&g, 0, h100, &caches, &parts);
  first = 1e6 * parts.plain, first_pdl = 1e6 * parts.pdl;
  cost_kernel (&g, 1, h100, &caches, &parts);
  assert_true (first > 3 && 1e6 * parts.plain > 1.5);
  cost_times (&g, h100, &plain, &pdl); /* one after the other */
  assert_true (fabs (first + 1e6 * parts.plain - plain) < 1e-9 && fabs (first_pdl + 1e6 * parts.pdl - pdl) < 1e-9);
  assert_true (microseconds (h100) == cost_score (plain, pdl) && pdl < plain);
}

/* Both times count, the one among others twice. */
static void test_score (void **state) {
  (void) state;
  assert_true (fabs (cost_score (8, 1) - 2) < 1e-12 && fabs (cost_score (1, 8) - 4) < 1e-12 &&
               fabs (cost_score (5, 5) - 5) < 1e-12);
  assert_true (cost_score (5, INFINITY) == 5 && isinf (cost_score (INFINITY, INFINITY)) &&
               isinf (cost_score (INFINITY, 1)));
}

static void test_predefined_kernels (void **state) {
  (void) state;
  mugraph_init (&g);
  int x = input2 (&g, "X", 16, 4096), w = input2 (&g, "W", 4096, 4096);
  int y = mugraph_add_op (&g, MUGRAPH_OP_MATMUL, 2, (int[]){x, w}, -1, &error);
  double one = microseconds (h100);
  assert_true (one > 1e6 * 33.5e6 / h100->dram_bw + 1);
  assert_true (mugraph_add_op (&g, MUGRAPH_OP_EXP, 1, &y, -1, &error) > 0);
  assert_true (microseconds (h100) > one + 1e6 * h100->launch);
}

/* Every term of the model for every saved µGraph of tests/golden/, on each device. */
static void golden_costs (void **state) {
  static const char *const files[] = {"gated_mlp_bs16",       "gqa_bs8",        "lora_bs1",
                                      "norm_transformer_bs1", "qknorm_gqa_bs1", "rmsnorm_bs8"};
  char *text;
  size_t size;
  FILE *f = open_memstream (&text, &size);
  (void) state;
  assert_non_null (f);
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    mugraph_file file;
    char path[200];
    snprintf (path, sizeof path, GOLDEN_FOLDER "saved_mugraphs/%s.json", files[i]);
    ok (mugraph_file_load (path, &file, &error));
    for (int n = 0; n < file.n; n++)
      for (int d = 0; d < cuda_n_devices; d++) {
        cost_caches cold = {{false}};
        const mugraph *saved = &file.saved[n].graph;
        fprintf (f, "%s %d, %s:", files[i], n, cuda_devices[d].name);
        for (int k = 0; k < saved->n_ops; k++) {
          cost_parts p;
          cost_kernel (saved, k, &cuda_devices[d], &cold, &p);
          fprintf (f,
                   " launch %.5g dram %.5g l2 %.5g mma %.5g sfu %.5g fp32 %.5g latency %.5g plain %.5g pdl %.5g total "
                   "%.5g, %d an SM, %.5g waves;",
                   p.launch, p.dram, p.l2, p.mma, p.sfu, p.fp32, p.latency, p.plain, p.pdl, p.total, p.occupancy,
                   p.waves);
        }
        fprintf (f, "\n");
      }
    mugraph_file_free (&file);
  }
  assert_int_equal (fclose (f), 0);
  golden_check ("costs.txt", text);
  free (text);
}

int main (void) {
  golden_filter ();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test (golden_costs),
      cmocka_unit_test (test_places),
      cmocka_unit_test (test_clusters_and_rests),
      cmocka_unit_test (test_ring),
      cmocka_unit_test (test_streams),
      cmocka_unit_test (test_elements_in_flight),
      cmocka_unit_test (test_every_generator),
      cmocka_unit_test (test_score),
      cmocka_unit_test (test_rooflines),
      cmocka_unit_test (test_bytes_in_flight),
      cmocka_unit_test (test_matrix_and_special_units),
      cmocka_unit_test (test_warpgroups),
      cmocka_unit_test (test_dependent_kernels),
      cmocka_unit_test (test_unknown_generator),
      cmocka_unit_test (test_waves),
      cmocka_unit_test (test_clusters_cost),
      cmocka_unit_test (test_misaligned_tiles),
      cmocka_unit_test (test_launches_and_caches),
      cmocka_unit_test (test_whole_graphs),
      cmocka_unit_test (test_predefined_kernels),
  };
  return cmocka_run_group_tests (tests, set_up, NULL);
}
