# A linear layer with a low-rank adapter
input X[b, 256]: f16
input W[256, 4096]: f16
input A[256, 16]: f16
input B[16, 4096]: f16
output O = matmul(X, W) + matmul(matmul(X, A), B)
