/* The cost model against measured times: how far it is off, how well it ranks, and which constants of cost.def would
   explain the times best. A sample is one schedule of a program and what it took; judging takes the samples of one
   program, fitting those of many. */
#ifndef CUDA_TEMPLATES_COST_FIT_H
#define CUDA_TEMPLATES_COST_FIT_H

#include "cost.h"
#include "cost_constants.h"

typedef struct {
  const mugraph *graph;
  double plain, pdl;             /* measured, cold, microseconds; infinity: not timed */
  double model_plain, model_pdl; /* set by cost_predict */
  cuda_plan *plan;               /* owned: of its kernels, which no constant changes */
} cost_sample;

/* Plans the kernels of sample->graph, which must outlive it. False where the device cannot take one. */
bool cost_sample_plan (cost_sample *, const cuda_device *);
void cost_sample_free (cost_sample *);

/* What the device's constants make of the samples. */
void cost_predict (cost_sample[], int n, const cuda_device *);

/* Of predicted samples of one program. Ranks count from 1; the best, ranks and correlation are by cost_score. */
typedef struct {
  int n, best;         /* samples; the position of the one that was measured best */
  int rank, near_rank; /* of the measured best by the model; the best rank of any within COST_NEAR of it */
  double correlation;  /* of the two orders, Spearman's */
  double error;        /* mean of |log (model / measured)| over plain and pdl times; exp of it is a factor */
} cost_judgement;
cost_judgement cost_judge (const cost_sample[], int n);

/* The model's rank of sample i among n. */
int cost_model_rank (const cost_sample[], int n, int i);

/* Fits the fitted rows of cost.def, from the device's constants on: least squares of log (model / measured), every
   constant within COST_FIT_RANGE times its start, so that it keeps its meaning, and drawn to it a little, so that what
   no sample depends on stays. Returns the constants; the samples are left predicted with them. Takes at most `seconds`
   (0: as long as it gets better); always the same constants for the same samples otherwise. */
#define COST_FIT_RANGE 3.0
cost_constants cost_fit (cost_sample[], int n, const cuda_device *, double seconds);

#endif
