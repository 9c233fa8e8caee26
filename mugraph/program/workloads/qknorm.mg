# Grouped-query attention behind a normalisation over the head dimension (of Q and of V)
input Q[2*b, 256, 64]: f16
input K[2*b, 64, 4096]: f16
input V[2*b, 4096, 64]: f16
E = exp(matmul(rms_norm(Q, -1), K))
output O = matmul(E / sum(E, -1), rms_norm(V, -1))
