# RMSNorm followed by a linear layer
input X[2*b, 4096]: f16
input W[4096, 6144]: f16
output O = matmul(rms_norm(X, -1), W)
