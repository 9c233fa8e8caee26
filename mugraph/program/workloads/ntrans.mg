# The normalised transformer's residual step; alpha is the rate of each element
input X[b, 4096]: f16
input H[b, 4096]: f16
input alpha[b, 4096]: f16
output O = rms_norm(X + alpha * (rms_norm(H, -1) + X), -1)
