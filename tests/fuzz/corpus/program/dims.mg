N=32
dim N = 4
dim M = (N + 2*b) / 3 - -1
input X[M, N]: bf16
input s[1]: f32
c = 1 / sqrt(N)
_t = softmax(X * c, -1)
Y = clamp(_t, -0.5, 1e3) - pow(X, 2)
output Z = concat(Y, -X, 0)
output mean(Z, 0) + s
output max(sum_to(Y, 1, 2), 1)
output rms_norm(silu(X), -1, 1e-5)
