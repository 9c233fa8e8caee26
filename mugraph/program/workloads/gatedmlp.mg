# The gated half of a multilayer perceptron
input X[b, 4096]: f16
input W1[4096, 4096]: f16
input W2[4096, 4096]: f16
output O = silu(matmul(X, W1)) * matmul(X, W2)
